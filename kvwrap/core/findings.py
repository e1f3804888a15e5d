"""What can be said against a stack before it has run."""

from __future__ import annotations

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One thing against a stack.

    Attributes:
        code: A short name in kebab case, to silence the finding by.
        sentence: What is wrong.
        way_out: What to write instead.
        fatal: Whether the stack cannot work at all, and is refused.
    """

    code: str
    message: str
    hint: str
    fatal: bool = False

    def __str__(self) -> str:
        return f"{self.code}: {self.message} {self.hint}"
