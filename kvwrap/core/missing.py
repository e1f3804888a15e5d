"""What is not there yet, and may be created by another program."""

from __future__ import annotations

from kvwrap.errors import ConfigurationError


class NotThereYet(ConfigurationError):
    """A file, table or the like is missing that a store may not create, and that could be made."""


def is_missing(what: str, *, check: str = "name", hint: str = "") -> str:
    """Return the message for what must exist since the store may not create it.

    Args:
        what: What the store keeps there, with its name and place.
        check: What may be mistaken: its path, or its name.
        hint: What was probably meant, as a sentence behind the message.
    """
    return (
        f"{what} must exist to be read; it is not there: check the {check}, or write to it "
        f"first{hint}"
    )
