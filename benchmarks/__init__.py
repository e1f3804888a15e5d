"""Benchmarks that compare kvwrap with other libraries: `make bench` prints the table."""
