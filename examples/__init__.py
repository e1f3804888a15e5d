"""Example programs, each run by the tests."""
