"""Names of keys in backends whose keys are one string."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvwrap.stores.shared.escaping import KeyNames


@given(st.text(min_size=1), st.none() | st.text(min_size=1), st.text(min_size=1))
def test_names_can_be_parsed(namespace: str, collection: str | None, key: str) -> None:
    names = KeyNames(namespace)
    name = names.prefix(collection) + key
    assert names.collection_of(name[len(names.root) :]) == collection
    assert name.startswith(names.root)
    assert name[len(names.prefix(collection)) :] == key


@given(*[st.tuples(st.text(":%3Aa", min_size=1), st.none() | st.text(":%3Aa", min_size=1))] * 2)
def test_no_two_collections_share_a_name(
    one: tuple[str, str | None], other: tuple[str, str | None]
) -> None:
    first, second = (KeyNames(space).prefix(name) for space, name in (one, other))
    assert (first == second) == (one == other)
    assert one == other or not first.startswith(second)
