"""What is not there yet, and may be created by another program."""

from __future__ import annotations

from kvwrap.errors import ConfigurationError


class NotThereYet(ConfigurationError):
    """A file or folder is missing that a store may not create, and that could be created."""
