"""The parts of `kvwrap.copy`."""
