"""Names that users cannot have: those of what layers keep beside the data."""

from __future__ import annotations

from typing import Final

RESERVED: Final = "kvwrap."
"""What the names begin with under which layers keep their own records beside the data."""
RESERVED_END: Final = "kvwrap/"
"""The least text after all of these, since `/` follows the dot."""
