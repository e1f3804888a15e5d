"""A durable list of accepted changes, and what carries them on to where they belong."""
