"""The parts of `kvwrap.rewrite`."""
