"""The two forms of the data in Redis: entries of kvwrap, and another program's keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.codec import is_bare
from kvwrap.core.entry import (
    Entry,
    dump_entries,
    foreign,
    foreign_salt,
    is_entry,
    live,
    parse_entries,
)
from kvwrap.core.primitives import Collection, QualifiedKey
from kvwrap.core.serializer import JSON, BytesSerializer, Serializer
from kvwrap.stores.redis.errors import wrong_type
from kvwrap.stores.redis.keys import RawKeyNames, as_text
from kvwrap.stores.redis.options import RedisOptions
from kvwrap.stores.redis.server import Server
from kvwrap.stores.shared.escaping import KeyNames

_NO_KEY: Final = -2
"""Answer to PTTL for a key that does not exist."""

_MOST_PLACES: Final = 64
"""Maximum number of colons in a name of another program whose change is told by its keys."""

BY_SCRIPTS: Final = frozenset(
    {
        *(Capability.KEYS, Capability.COLLECTIONS, Capability.COMPARE_AND_PUT),
        *(Capability.DESTROY, Capability.DESTROY_COLLECTION),
    }
)
"""The capabilities that need the right to run scripts."""


class Form(Protocol):
    """A form of the data in Redis.

    Attributes:
        names: Names of the keys.
        serializer: Serializer of a store that was given none.
        unsupported: Capabilities that a store with this form does not have.
        is_shared: True if other programs have keys here, whose hashes and lists must stay.
    """

    names: KeyNames
    serializer: Serializer
    unsupported: Capabilities
    is_shared: bool

    async def read(self, server: Server, names: Sequence[str]) -> list[Any]:
        """Read the values of these names in one round trip.

        The result has None for no value, and an error for a single key in place of its value.
        """

    def decode(
        self,
        values: Sequence[Any],
        collection: Collection,
        keys: Sequence[str],
        now: float,
        store: str,
    ) -> list[Entry | None]:
        """Return the unexpired entries for values that `read` returned, None for missing ones.

        Raises:
            CorruptEntry: A value is not an entry of this collection and its key.
        """

    def encode(
        self, entries: Sequence[Entry], collection: Collection, keys: Sequence[str]
    ) -> list[bytes]:
        """Return the values to store for entries."""

    def salt(self, collection: Collection, key: str) -> bytes:
        """Return what a script needs to make the version of a value without kvwrap's header.

        That is empty if such a value has no version.
        """

    def places(self, name: bytes) -> Sequence[QualifiedKey] | None:
        """Return the collection and the key that a name is for; none for another program's.

        A name may be for several if collections overlap, or for too many: `None`.
        """

    def refusal(self, primitive: str, collection: Collection = None) -> str | None:
        """Return why a primitive is not supported, to complete "RedisStore cannot …".

        Returns None if it is supported.
        """


class FramedForm:
    """Entries of kvwrap: a header with expiry and version, then the value."""

    unsupported: Capabilities = frozenset()
    is_shared = False

    def __init__(self, namespace: str) -> None:
        self.names = KeyNames(namespace)
        self.serializer: Serializer = JSON

    async def read(self, server: Server, names: Sequence[str]) -> list[Any]:
        return await server.read_values(names)

    def decode(
        self,
        values: Sequence[Any],
        collection: Collection,
        keys: Sequence[str],
        now: float,
        store: str,
    ) -> list[Entry | None]:
        return parse_entries(values, collection, keys, store, now, has_raw=True)

    def encode(
        self, entries: Sequence[Entry], collection: Collection, keys: Sequence[str]
    ) -> list[bytes]:
        return dump_entries(entries, collection, keys)

    def salt(self, collection: Collection, key: str) -> bytes:
        return b""

    def places(self, name: bytes) -> Sequence[QualifiedKey] | None:
        text, root = as_text(name), self.names.root
        if not text.startswith(root):
            return ()
        collection = self.names.collection_of(text[len(root) :])
        prefix = self.names.prefix(collection)
        key = text[len(prefix) :]
        return ((collection, key),) if key and text.startswith(prefix) else ()

    def refusal(self, primitive: str, collection: Collection = None) -> str | None:
        return None


class RawForm:
    """Keys and values of another program, side by side with entries of kvwrap.

    Values without kvwrap's header are in the format of the stack's serializer, and their expiry is
    that of the key in Redis. What layers have changed is written with the header. A hash, a list
    or another type under a key is an error, and is never replaced.
    """

    unsupported: Capabilities = frozenset({Capability.COLLECTIONS, Capability.DESTROY})
    is_shared = True

    def __init__(self) -> None:
        self.names: KeyNames = RawKeyNames()
        self.serializer: Serializer = BytesSerializer()

    async def read(self, server: Server, names: Sequence[str]) -> list[Any]:
        found = await server.read_with_lifetimes(names)
        # A key that is not a string has a lifetime, but no value.
        others = [
            name
            for name, each in zip(names, found, strict=True)
            if isinstance(each, tuple) and each[0] is None and each[1] != _NO_KEY
        ]
        kinds = dict.fromkeys(names, b"none")
        if others:
            answers = await server.run_each(others, [("TYPE", name) for name in others])
            types = [server.checked_answer(answer) for answer in answers]
            if not all(isinstance(kind, bytes) for kind in types):
                raise server.wrong_answer()
            kinds.update(zip(others, types, strict=True))
            if b"string" in kinds.values():
                return await self.read(server, names)  # it has been replaced meanwhile
        return [
            each
            if isinstance(each, Exception)
            else (*each, None)
            if each[0] is not None
            else None
            if kinds[name] == b"none"
            else (b"", each[1], as_text(kinds[name]))
            for name, each in zip(names, found, strict=True)
        ]

    def decode(
        self,
        values: Sequence[Any],
        collection: Collection,
        keys: Sequence[str],
        now: float,
        store: str,
    ) -> list[Entry | None]:
        return [
            None if value is None else live(self._decode(value, collection, key, now, store), now)
            for key, value in zip(keys, values, strict=True)
        ]

    def _decode(
        self, value: Any, collection: Collection, key: str, now: float, store: str
    ) -> Entry:
        data, lifetime, other_type = value
        if other_type is not None:
            raise wrong_type(other_type, store=store, collection=collection, key=key)
        if is_entry(data):
            return Entry.from_bytes(data, collection, key, store)
        expires_at = now + lifetime / 1000 if lifetime >= 0 else None
        return foreign(data, collection, key, now, expires_at)

    def encode(
        self, entries: Sequence[Entry], collection: Collection, keys: Sequence[str]
    ) -> list[bytes]:
        # Bare bytes that begin like an entry would be read as one.
        return [
            entry.body
            if is_bare(entry.codec) and not is_entry(entry.body)
            else entry.to_bytes(collection, key)
            for key, entry in zip(keys, entries, strict=True)
        ]

    def salt(self, collection: Collection, key: str) -> bytes:
        return foreign_salt(collection, key)

    def places(self, name: bytes) -> Sequence[QualifiedKey] | None:
        text = as_text(name)
        if text.count(":") > _MOST_PLACES:
            return None
        found: list[QualifiedKey] = [(None, text)] if text else []
        for at, character in enumerate(text):
            if character == ":" and 0 < at < len(text) - 1:
                found.append((text[:at], text[at + 1 :]))
        return found

    def refusal(self, primitive: str, collection: Collection = None) -> str | None:
        if primitive == "list_collections":
            return "enumerate collections: with raw=True, keys need not have one"
        if primitive == "drop_all":
            return "destroy what other programs have written (raw=True)"
        if primitive == "drop" and collection is None:
            return "destroy the default collection: with raw=True it contains every key"
        return None


def make_form(options: RedisOptions) -> Form:
    """Create the form for these options."""
    return RawForm() if options.raw else FramedForm(options.namespace)
