"""Stores: one file or package per backend, and per kind of object that `kvwrap.adapt` accepts."""
