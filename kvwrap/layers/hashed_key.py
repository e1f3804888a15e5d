"""Key names that the backend cannot read."""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from collections.abc import Coroutine, Iterable, Sequence
from functools import lru_cache
from typing import Any, Protocol

from kvwrap.errors import ConfigurationError
from kvwrap.layers.base import (
    Capabilities,
    Capability,
    Collection,
    Entry,
    Expected,
    Finding,
    KeyRange,
    Layer,
    Page,
    Store,
    checked_flag,
    with_callers_names,
)

_SHORTEST = 16
_REMEMBERED = 1024
_DIGEST = 16
_LENGTH = 22
_FOR_NAMES = bytes.maketrans(b"+/", b"-_")


class Secret(Protocol):
    """A key that says its bytes when asked, as `kvwrap.keyring.Key` does."""

    def reveal(self) -> bytes:
        """The bytes."""


class HashedKey(Layer):
    """Replaces every key by a keyed hash, so that the backend learns no key's name.

    The hash is BLAKE2b (RFC 7693) under the secret, of 128 bits, written as 22 letters, digits,
    `-` and `_`. It takes the collection in, so that one key looks different in every collection.
    Among a million million keys the chance that any two have one hash is below one in 10^14.
    What was put under a key can be got with that key and this secret only: keys cannot be
    enumerated, and with another secret, everything is gone.

    Args:
        secret: At least 16 bytes, or text of as many, or a `Key`. The same for ever: it cannot
            be rotated, so not a keyring. It may be a key that serves encryption too.
        collections: Whether the names of collections are hashed as well. The default
            collection, which has none, stays what it is.
    """

    traits = frozenset({"hashes_keys", "renames"})

    def __init__(self, secret: bytes | str | Secret, *, collections: bool = False) -> None:
        # Derived, so that what is hashed here tells nothing about another use of the secret.
        self._key = hashlib.blake2b(_bytes(secret), digest_size=32, person=b"kvwrap names")
        self._hides_collections = checked_flag(collections, "collections")
        self._keys_of = lru_cache(_REMEMBERED)(self._begun)
        self._there = lru_cache(_REMEMBERED)(self._made_there)

    def _begun(self, collection: Collection) -> Any:
        """The hash after the collection's name, to go on from with a key."""
        name = b"" if collection is None else b"c" + collection.encode()
        start = len(name).to_bytes(8) + name
        return self._hash(start, b"kvwrap key")

    def _hash(self, start: bytes, person: bytes) -> Any:
        return hashlib.blake2b(
            start, key=self._key.digest(), digest_size=_DIGEST, person=person, usedforsecurity=True
        )

    def _made_there(self, collection: Collection) -> Collection:
        if collection is None or not self._hides_collections:
            return collection
        return _text(self._hash(collection.encode(), b"kvwrap coll.").digest())

    def _hashed(self, collection: Collection, keys: Sequence[str]) -> list[str]:
        names = []
        start = self._keys_of(collection)
        for key in keys:
            state = start.copy()
            state.update(key.encode())
            names.append(_text(state.digest()))
        return names

    def read(
        self, collection: Collection, keys: Sequence[str]
    ) -> Coroutine[Any, Any, list[Entry | None]]:
        return self.inner.read(self._there(collection), self._hashed(collection, keys))

    def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        names = self._hashed(collection, keys)
        call = self.inner.write(self._there(collection), names, entries, expected)
        return call if len(keys) == 1 else with_callers_names(call, keys, names)

    def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        names = self._hashed(collection, keys)
        call = self.inner.remove(self._there(collection), names, expected)
        return call if len(keys) == 1 else with_callers_names(call, keys, names)

    def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> Coroutine[Any, Any, list[bool]]:
        names = self._hashed(collection, keys)
        call = self.inner.touch(self._there(collection), names, expires)
        return call if len(keys) == 1 else with_callers_names(call, keys, names)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        raise self.unsupported("enumerate keys, of which the backend holds only hashes")

    async def list_collections(self) -> list[Collection]:
        if self._hides_collections:
            raise self.unsupported("enumerate collections, of which the backend holds only hashes")
        return await self.inner.list_collections()

    async def drop(self, collection: Collection) -> bool:
        return await self.inner.drop(self._there(collection))

    @property
    def capabilities(self) -> Capabilities:
        lost = {Capability.KEYS, Capability.RANGE}
        if self._hides_collections:
            lost.add(Capability.COLLECTIONS)
        return self.inner.capabilities - lost

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if any("hashes_keys" in layer.traits for layer in above):
            yield Finding(
                "keys-hashed-twice",
                "Keys are hashed by a layer further out already.",
                "Leave one .hash_keys(...).",
            )
        hashed = {"key", "collection"} if self._hides_collections else {"key"}
        for layer in below:
            described = layer.arguments if "spreads" in layer.traits else {}
            if "routes" in described and described.get("by", "collection") in hashed:
                yield Finding(
                    "hashed-keys-outside-routing",
                    f"{layer.name} chooses a store by names, and sees only their hashes.",
                    "Put it outside, and .hash_keys(...) over each of its stores.",
                )


def _bytes(secret: object) -> bytes:
    found: object = secret
    if isinstance(secret, str):
        found = secret.encode()
    elif callable(reveal := getattr(secret, "reveal", None)):
        found = reveal()
    if not isinstance(found, bytes | bytearray | memoryview):
        raise ConfigurationError(
            "the secret is bytes, text or one Key (a keyring's primary key changes, and with it "
            f"every name would), not {type(secret).__name__}"
        )
    if len(bytes(found)) < _SHORTEST:
        raise ConfigurationError(
            f"the secret has at least {_SHORTEST} bytes, as from secrets.token_bytes(32), "
            f"not {len(bytes(found))}"
        )
    return bytes(found)


def _text(digest: bytes) -> str:
    return b2a_base64(digest, newline=False)[:_LENGTH].translate(_FOR_NAMES).decode()
