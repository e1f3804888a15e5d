"""Acknowledged changes in a local file, and the task that sends them."""
