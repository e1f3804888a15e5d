"""A journal of acknowledged changes in a local file, and the task that sends them."""
