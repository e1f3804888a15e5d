"""Integrations with other libraries, one module a library."""
