"""Stacks written down, and built from what is written."""
