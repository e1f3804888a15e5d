"""Compression algorithms, one per file."""
