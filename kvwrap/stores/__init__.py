"""Stores: one file per backend, and one per kind of object that `kvwrap.adapt` takes."""
