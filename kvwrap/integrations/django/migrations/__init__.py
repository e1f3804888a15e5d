"""Migrations of the table of entries."""
