"""Messages of one key: the commitment in front of them, and what does not open."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kvwrap import Key
from kvwrap.keyring.cipher import Cipher
from kvwrap.keyring.key import SUITES

MATERIAL = bytes(range(32))


def test_the_commitment_is_the_hkdf_of_the_key() -> None:
    """RFC 5869 with SHA-256, without a salt, computed with HMAC alone."""
    extracted = hmac.digest(bytes(32), MATERIAL, "sha256")
    expanded = hmac.digest(extracted, b"kvwrap key commitmentaes-256-gcm\x01", "sha256")
    assert Key(MATERIAL).commitment() == expanded[:16]


def test_keys_and_algorithms_have_different_commitments() -> None:
    keys = [Key(material, algorithm=a) for a in SUITES for material in (MATERIAL, bytes(32))]
    assert len({key.commitment() for key in keys}) == len(keys)
    assert all(MATERIAL[:8] not in key.commitment() for key in keys)


@pytest.mark.parametrize("algorithm", SUITES)
def test_a_message_with_another_commitment_does_not_open(algorithm: str) -> None:
    """Everything behind the commitment is right, as in a message made to open with two keys."""
    cipher = Cipher("k", Key(MATERIAL, algorithm=algorithm))
    sealed = cipher.seal(b"plain", b"bound")
    assert cipher.open(sealed, b"bound") == b"plain"
    other = Key(bytes(32), algorithm=algorithm).commitment()
    assert cipher.open(other + sealed[16:], b"bound") is None
    assert cipher.open(sealed[16:], b"bound") is None


@pytest.mark.parametrize("length", [0, 1, 64 * 1024 - 44, 64 * 1024, 200_000])
def test_messages_of_all_lengths(length: int) -> None:
    cipher = Cipher("k", Key(MATERIAL))
    sealed = cipher.seal(b"x" * length, b"bound")
    assert len(sealed) == length + 44
    assert cipher.open(sealed, b"bound") == b"x" * length
    assert AESGCM(MATERIAL).decrypt(sealed[16:28], sealed[28:], b"bound") == b"x" * length
    assert cipher.open(sealed, b"other") is None
    assert cipher.open(sealed[:-1], b"bound") is None
