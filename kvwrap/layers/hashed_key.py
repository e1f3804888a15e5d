"""Replace keys by hashes, so that the backend cannot read them."""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from collections.abc import Coroutine, Iterable, Sequence
from functools import lru_cache
from typing import Any, Self

from kvwrap.layers.base import (
    Capabilities,
    Capability,
    Collection,
    Entry,
    Expected,
    Finding,
    KeyRange,
    Layer,
    Listener,
    Origin,
    Page,
    Passage,
    Scope,
    Store,
    Subscription,
    checked_flag,
    with_callers_names,
)
from kvwrap.layers.shared.secrets import Secret, secret_bytes

_CACHED_COLLECTIONS = 1024
_DIGEST_BYTES = 16
_NAME_LENGTH = 22
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class HashedKey(Layer):
    """Replaces every key by a keyed hash, so that the backend learns no key's name.

    The hash is BLAKE2b (RFC 7693), keyed with the secret. Its 128 bits are written as 22
    letters, digits, `-` and `_`. The collection's name is part of the input, so one key looks
    different in every collection. Among 10^12 keys, the probability that any two have the
    same hash is below 1 in 10^14. An entry is found only with its key and this secret. Keys
    cannot be enumerated, and with another secret no entry is found. The layer cannot be
    pickled, because of the secret.

    Args:
        secret: At least 16 bytes, or text that is at least 16 bytes long, or a `Key`. It
            cannot be rotated, and therefore cannot be a keyring. It may be a key that is
            also used for encryption.
        collections: Whether the names of collections are hashed too. The default collection
            has no name to hash.
    """

    passage = Passage(
        read="asks for the hash of the key",
        write="goes under the hash of the key",
        names="hashed key",
    )
    traits = frozenset({"hashes_keys", "renames"})
    finding_codes = frozenset({"hashed-keys-outside-routing", "keys-hashed-twice"})

    def __init__(self, secret: bytes | str | Secret, *, collections: bool = False) -> None:
        # A derived key, so that the hashes reveal nothing about another use of the secret.
        self._key = hashlib.blake2b(secret_bytes(secret), digest_size=32, person=b"kvwrap names")
        self._hashes_collections = checked_flag(collections, "collections")
        self._key_hash = lru_cache(_CACHED_COLLECTIONS)(self._start_hash)
        self._target = lru_cache(_CACHED_COLLECTIONS)(self._map_collection)

    def __copy__(self) -> Self:
        return self.clone()

    def __deepcopy__(self, memo: object) -> Self:
        return self.clone()

    def _start_hash(self, collection: Collection) -> Any:
        """Return the hash state after the collection's name. A key is added to a copy of it."""
        name = b"" if collection is None else b"c" + collection.encode()
        return self._hash(len(name).to_bytes(8) + name, b"kvwrap key")

    def _hash(self, data: bytes, person: bytes) -> Any:
        return hashlib.blake2b(
            data,
            key=self._key.digest(),
            digest_size=_DIGEST_BYTES,
            person=person,
            usedforsecurity=True,
        )

    def _map_collection(self, collection: Collection) -> Collection:
        if collection is None or not self._hashes_collections:
            return collection
        return _name(self._hash(collection.encode(), b"kvwrap coll.").digest())

    def _hash_keys(self, collection: Collection, keys: Sequence[str]) -> list[str]:
        names = []
        collection_state = self._key_hash(collection)
        for key in keys:
            state = collection_state.copy()
            state.update(key.encode())
            names.append(_name(state.digest()))
        return names

    def read(
        self, collection: Collection, keys: Sequence[str]
    ) -> Coroutine[Any, Any, list[Entry | None]]:
        return self.inner.read(self._target(collection), self._hash_keys(collection, keys))

    def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        names = self._hash_keys(collection, keys)
        call = self.inner.write(self._target(collection), names, entries, expected)
        return call if len(keys) == 1 else with_callers_names(call, keys, names)

    def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        names = self._hash_keys(collection, keys)
        call = self.inner.remove(self._target(collection), names, expected)
        return call if len(keys) == 1 else with_callers_names(call, keys, names)

    def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> Coroutine[Any, Any, list[bool]]:
        names = self._hash_keys(collection, keys)
        call = self.inner.touch(self._target(collection), names, expires)
        return call if len(keys) == 1 else with_callers_names(call, keys, names)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        raise self.unsupported("enumerate keys: the backend holds only their hashes")

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        self._check_whole(key_range)
        return await self.inner.count_range(self._target(collection), key_range)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        self._check_whole(key_range)
        return await self.inner.drop_range(self._target(collection), key_range)

    def _check_whole(self, key_range: KeyRange) -> None:
        """Raise `UnsupportedOperation` for a range that does not have every key."""
        if key_range.prefix or key_range.start is not None or key_range.end is not None:
            raise self.unsupported("find keys by a prefix: the backend holds only their hashes")

    async def list_collections(self) -> list[Collection]:
        if self._hashes_collections:
            raise self.unsupported("enumerate collections: the backend holds only their hashes")
        return await self.inner.list_collections()

    async def drop(self, collection: Collection) -> bool:
        return await self.inner.drop(self._target(collection))

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        raise self.unsupported("watch for changes: the backend tells only the hashes of keys")

    def trace(self, collection: Collection, key: str) -> tuple[Origin, ...]:
        (name,) = self._hash_keys(collection, [key])
        return self.inner.trace(self._target(collection), name)

    @property
    def capabilities(self) -> Capabilities:
        removed = {Capability.KEYS, Capability.RANGE, Capability.WATCH}
        if self._hashes_collections:
            removed.add(Capability.COLLECTIONS)
        return self.inner.capabilities - removed

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if any("hashes_keys" in layer.traits for layer in above):
            yield Finding(
                "keys-hashed-twice",
                "The keys are already hashed by an outer layer.",
                "Remove one .hash_keys(...).",
            )
        hashed = {"key", "collection"} if self._hashes_collections else {"key"}
        for layer in below:
            arguments = layer.arguments if "spreads" in layer.traits else {}
            if "routes" in arguments and arguments.get("by", "collection") in hashed:
                yield Finding(
                    "hashed-keys-outside-routing",
                    f"{layer.name} chooses a store by name, but sees only hashes of names.",
                    f"Put {layer.name} outside .hash_keys(...), and .hash_keys(...) over each of "
                    "its stores.",
                )


def _name(digest: bytes) -> str:
    return b2a_base64(digest, newline=False)[:_NAME_LENGTH].translate(_URL_SAFE).decode()
