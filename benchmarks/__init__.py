"""Ratios of kvwrap against what it stands beside: `make bench` prints the table."""
