"""The options of TLS that stores share."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from kvwrap import ConfigurationError
from kvwrap.stores.shared.tls import make_tls
from kvwrap.testing.servers.certificates import make_certificates


def test_options_say_whether_there_is_tls(tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    assert make_tls(None) is None
    assert make_tls(False) is None
    for tls in (None, True):
        made = make_tls(tls, ca=str(files.ca))
        assert made is not None
        assert made.ca == str(files.ca)


def test_a_context_checks_certificate_and_host_name(tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    made = make_tls(True, str(files.ca), str(files.client_cert), str(files.client_key))
    assert made is not None
    context = made.context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


def test_a_key_with_a_passphrase_is_refused_and_not_asked_for(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    files = make_certificates(tmp_path)
    key = serialization.load_pem_private_key(files.client_key.read_bytes(), None)
    files.client_key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigurationError, match="`cert` must be a file with"):
        make_tls(True, None, str(files.client_cert), str(files.client_key))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tls": False, "ca": "x"}, "`tls` must be true where ca is given"),
        ({"tls": "yes"}, "`tls` must be True or False"),
        ({"tls": True, "key": "x"}, "`key` must be given together with `cert`"),
        ({"tls": True, "ca": "/nowhere/ca.pem"}, "`ca` must be a file with certificates"),
        ({"tls": True, "cert": "/nowhere/c.pem"}, "`cert` must be a file with a certificate"),
        ({"tls": True, "ca": __file__}, "cannot be used .*not in that form|no certificate"),
        ({"tls": None, "ca": 5}, "`ca` must be a non-empty str"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_tls(**options)
