"""Keys that the backend sees only as hashes."""

from __future__ import annotations

import copy
import hashlib
import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import (
    Capability,
    ConfigurationError,
    HashedKey,
    Keyring,
    MemoryStore,
    StackWarning,
    UnsupportedOperation,
    stack,
)
from kvwrap.core.primitives import KeyRange
from kvwrap.keyring.key import Key

SECRET = bytes(range(32))


async def test_the_backend_sees_short_names_that_reveal_nothing() -> None:
    base = MemoryStore()
    store = HashedKey(SECRET).over(base)
    await store.put("ada@example.org", 1)
    await store.put("ada@example.org", 2, collection="users")
    await store.put("ä" * 500, 3, collection="users")
    found = [*await base.keys(), *await base.keys("users")]
    assert len(set(found)) == 3
    assert all(re.fullmatch(r"[\w-]{22}", name, re.ASCII) for name in found)
    assert await store.get("ada@example.org") == 1
    assert await store.get_many(["ä" * 500, "ada@example.org", "x"], collection="users") == [
        3,
        2,
        None,
    ]
    assert await store.collections() == ["users"]


async def test_the_hash_is_as_documented() -> None:
    """Programs in other languages can find the entries too."""
    base = MemoryStore()
    store = HashedKey(SECRET, collections=True).over(base)
    await store.put("key", 1, collection="there")
    derived = hashlib.blake2b(SECRET, digest_size=32, person=b"kvwrap names").digest()
    name = b"cthere"

    def text(message: bytes, person: bytes) -> str:
        import base64

        digest = hashlib.blake2b(message, key=derived, digest_size=16, person=person).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    (collection,) = await base.collections()
    assert collection == text(b"there", b"kvwrap coll.")
    assert await base.keys(collection) == [
        text(len(name).to_bytes(8) + name + b"key", b"kvwrap key")
    ]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.binary(min_size=16))
async def test_a_name_depends_on_key_and_secret(key: str, secret: bytes) -> None:
    base = MemoryStore()
    await HashedKey(secret).over(base).put(key, 1)
    assert await HashedKey(secret).over(base).get(key) == 1
    assert await HashedKey(secret + b"x").over(base).get(key) is None


async def test_names_that_concatenate_to_the_same_text_do_not_collide() -> None:
    store = HashedKey(SECRET).over(MemoryStore())
    places = [("ab", "c"), ("a", "bc"), (None, "abc"), ("c", "ab"), (None, "cab")]
    for n, (collection, key) in enumerate(places):
        await store.put(key, n, collection=collection)
    for n, (collection, key) in enumerate(places):
        assert await store.get(key, collection=collection) == n


async def test_collections_can_be_hashed_too() -> None:
    base = MemoryStore()
    store = HashedKey(SECRET, collections=True).over(base)
    await store.put("k", 1, collection="users")
    await store.put("k", 2)
    (name,) = await base.collections()
    assert "users" not in name
    assert await base.keys()
    assert await store.destroy_collection("users")
    assert await base.collections() == []
    with pytest.raises(UnsupportedOperation, match="HashedKey cannot enumerate collections"):
        await store.collections()
    assert Capability.COLLECTIONS not in store.capabilities
    assert await store.destroy()


async def test_other_operations_work_and_enumeration_names_the_layer_that_refuses() -> None:
    base = MemoryStore()
    store = HashedKey(SECRET).over(base)
    lost = {Capability.KEYS, Capability.RANGE, Capability.WATCH}
    assert store.capabilities == base.capabilities - lost
    assert await store.increment("n") == 1
    assert await store.put_if_absent("n", 5) is False
    assert await store.expire("n", 60)
    assert await store.move("n", "m", target_collection="c")
    assert await store.get("m", collection="c") == 1
    assert await store.destroy_collection("c")
    for refused in (store.keys(), anext(store.scan()), anext(store.items())):
        with pytest.raises(UnsupportedOperation, match="HashedKey cannot enumerate keys"):
            await refused


async def test_a_secret_is_bytes_text_or_a_key_and_is_never_shown() -> None:
    base = MemoryStore()
    key = Key(SECRET)
    layers = [
        HashedKey(SECRET),
        HashedKey(key),
        HashedKey("a secret of text"),
        HashedKey(b"s" * 16),
    ]
    await layers[0].over(base).put("k", 1)
    assert await layers[1].over(base).get("k") == 1
    for layer in layers:
        store = layer.over(MemoryStore())
        for text in (repr(layer), store.explain(), repr(store)):
            assert "a secret of text" not in text
            assert "ssss" not in text
            assert "\\x01\\x02" not in text


@pytest.mark.parametrize("secret", [b"", b"s" * 15, "short", None, 5, Keyring({"k": SECRET})])
def test_invalid_secrets_are_refused_and_not_shown(secret: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        HashedKey(secret)
    assert "short" not in str(caught.value)


def test_known_mistakes_are_reported() -> None:
    route = {"user-*": MemoryStore}
    with pytest.warns(StackWarning, match="hashed-keys-outside-routing"):
        stack().hash_keys(SECRET).route(route, by="key").over(MemoryStore())
    with pytest.warns(StackWarning, match="hashed-keys-outside-routing"):
        stack().hash_keys(SECRET, collections=True).route(route).over(MemoryStore())
    with pytest.warns(StackWarning, match="keys-hashed-twice"):
        stack().hash_keys(SECRET).hash_keys(SECRET).over(MemoryStore())
    assert stack().hash_keys(SECRET).route(route).over(MemoryStore()).findings == ()
    with pytest.warns(StackWarning, match="layer-under-one-store"):
        stack().route(route, by="key").hash_keys(SECRET).over(MemoryStore())


def test_the_secret_leaves_the_process_in_no_pickle() -> None:
    layers = stack().retry(5).hash_keys(SECRET)
    with pytest.raises(TypeError, match="HashedKey cannot be pickled, since it has a secret"):
        pickle.dumps(layers)
    assert copy.deepcopy(layers) == layers
    assert copy.copy(layers) == layers


async def test_a_whole_collection_is_counted_and_deleted_and_a_prefix_is_not_known() -> None:
    base = MemoryStore()
    store = HashedKey(SECRET, collections=True).over(base)
    await store.put_many(["a", "b"], [1, 2], collection="users")
    await store.put("a", 3)
    assert await store.count(collection="users") == 2
    for call in (store.count(prefix="a"), store.delete_where(collection="users", prefix="a")):
        with pytest.raises(UnsupportedOperation, match="hashes"):
            await call
    for key_range in (KeyRange(start="a"), KeyRange(end="a")):
        with pytest.raises(UnsupportedOperation):
            await store.count_range("users", key_range)
    assert await store.delete_where(collection="users") == 2
    assert await store.count(collection="users") == 0
    assert await store.get("a") == 3
