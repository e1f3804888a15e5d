"""Programs that use kvwrap, each run by the tests."""
