"""Values that are Fernet tokens, read and rewritten."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet, MultiFernet

from kvwrap import ConfigurationError, DecryptionError, rewrite, stack
from kvwrap.core import codec
from kvwrap.integrations.fernet import FernetTokens
from tests.integrations.foreign import FERNET, RING, store_holding

pytestmark = pytest.mark.filterwarnings("ignore:legacy-open:kvwrap.StackWarning")


@pytest.mark.parametrize("steps", [b"", codec.BYTES, codec.JSON])
@pytest.mark.parametrize("quoted", [False, True])
async def test_tokens_as_bytes_and_as_json_strings(steps: bytes, quoted: bool) -> None:
    token = FERNET.encrypt(b'{"n": 1}')
    backend = await store_holding(b'"%b"' % token if quoted else token, steps)
    store = stack().encrypt(RING, legacy=[FernetTokens(FERNET)]).over(backend)
    assert await store.get("k") == {"n": 1}
    assert (await rewrite(store)).rewritten == 1
    assert await stack().encrypt(RING).over(backend).get("k") == {"n": 1}


async def test_tokens_that_hold_bytes() -> None:
    backend = await store_holding(FERNET.encrypt(b"\x00\xff"), b"")
    reader = FernetTokens(FERNET, content="bytes")
    store = stack().serialize("bytes").encrypt(RING, legacy=[reader]).over(backend)
    assert await store.get("k") == b"\x00\xff"


async def test_keys_in_all_their_forms() -> None:
    text = Fernet.generate_key().decode()
    other = Fernet.generate_key()
    backend = await store_holding(Fernet(text).encrypt(b"1"))
    forms: list[Any] = [
        text,
        text.encode(),
        [other, text],
        Fernet(text),
        MultiFernet([Fernet(other), Fernet(text)]),
    ]
    for keys in forms:
        store = stack().encrypt(RING, legacy=[FernetTokens(keys)]).over(backend)
        assert await store.get("k") == 1
    with pytest.raises(DecryptionError, match="does not open"):
        await stack().encrypt(RING, legacy=[FernetTokens(other)]).over(backend).get("k")


@pytest.mark.parametrize("keys", ["", "short", b"", [], ["short"], "secret-not-a-key" * 3])
def test_invalid_keys_are_refused(keys: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Fernet\.generate_key") as caught:
        FernetTokens(keys)
    assert "secret-not" not in str(caught.value)


def test_unknown_content_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="content"):
        FernetTokens(FERNET, content="yaml")  # type: ignore[arg-type]


def test_the_repr_shows_no_key() -> None:
    key = Fernet.generate_key().decode()
    assert key not in repr(FernetTokens(key))
