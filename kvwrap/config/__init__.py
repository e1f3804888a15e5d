"""Configurations: stacks described in TOML files or mappings."""
