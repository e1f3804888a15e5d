"""A demonstration of a complete stack: `make demo`."""
