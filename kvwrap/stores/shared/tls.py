"""TLS to a store's server: the options of a URL, and the context for the driver."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final

from kvwrap.core.validation import checked_flag, checked_name
from kvwrap.errors import ConfigurationError
from kvwrap.stores.shared import urls

TLS_OPTIONS: Final = {"tls": urls.FLAG, "ca": urls.TEXT, "cert": urls.TEXT, "key": urls.TEXT}
"""Options of TLS that the URL of every server store may have."""

_ANSWERS_WITHOUT: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}
)
"""Reasons of OpenSSL for an answer without TLS; which of them depends on its version."""

WITHOUT_TLS: Final = (
    "answers without TLS, which was asked for: leave out tls=true, or give its port for TLS"
)
"""What errors say if `has_no_tls`."""

WHETHER_TLS: Final = "whether it uses TLS (tls=true)"
"""What to check if one side of a connection may use TLS, and the other not."""


@dataclass(frozen=True, kw_only=True)
class Tls:
    """TLS to a server, whose certificate and host name are always checked.

    Args:
        ca: File with the certificates that the server's is checked against; None for those that
            the system trusts.
        cert: File with the certificate that this client presents; None for no certificate.
        key: File with its private key, without a passphrase; None if `cert` contains it.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context for the driver.

        Raises:
            ConfigurationError: A file cannot be read or does not contain what it should.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ValueError) as error:  # also of ssl, and for a null byte
            raise _unusable("ca", self.ca, "certificates in PEM form", error) from error
        if self.cert is not None:
            try:
                # An empty passphrase: otherwise OpenSSL would ask for one at the terminal.
                context.load_cert_chain(self.cert, self.key, password="")
            except (OSError, ValueError) as error:
                raise _unusable(
                    "cert",
                    self.cert,
                    "a certificate in PEM form, with its key there or in `key`",
                    error,
                ) from error
        return context


def make_tls(
    tls: bool | None, ca: str | None = None, cert: str | None = None, key: str | None = None
) -> Tls | None:
    """Return the TLS that a store's options ask for, or None for a connection without TLS.

    Args:
        tls: True for TLS, False for none; None if the option was not given, and the others decide.
        ca: As for `Tls`.
        cert: As for `Tls`.
        key: As for `Tls`.

    Raises:
        ConfigurationError: The options contradict each other, or a file cannot be used.
    """
    given = (("ca", ca), ("cert", cert), ("key", key))
    files = {name: checked_name(path, name) for name, path in given if path is not None}
    if tls is not None and not checked_flag(tls, "tls"):
        if files:
            raise ConfigurationError(
                f"`tls` must be true where {' and '.join(files)} is given; got false"
            )
        return None
    if tls is None and not files:
        return None
    if key is not None and cert is None:
        raise ConfigurationError("`key` must be given together with `cert`, its certificate")
    made = Tls(ca=ca, cert=cert, key=key)
    made.context()
    return made


def make_endpoint_tls(
    endpoint: tuple[str, str | None],
    tls: bool | None,
    ca: str | None = None,
    cert: str | None = None,
    key: str | None = None,
) -> Tls | None:
    """Return the TLS for a service of HTTP, whose endpoint says whether it has TLS.

    Args:
        endpoint: The name of the option, and the endpoint; None for a service that has TLS.
        tls: As for `make_tls`.
        ca: As for `Tls`.
        cert: As for `Tls`.
        key: As for `Tls`.

    Raises:
        ConfigurationError: As from `make_tls`, or the endpoint is one of the other kind.
    """
    made = make_tls(tls, ca, cert, key)
    name, address = endpoint
    has_tls = not (address or "https://").startswith("http://")
    if (made is not None and not has_tls) or (tls is False and has_tls):
        raise ConfigurationError(
            f"`{name}` must begin with https:// for TLS, and with http:// for none (tls=false); "
            f"got {'https://' if has_tls else 'http://'} and options that say the other"
        )
    return made


def has_no_tls(error: BaseException) -> bool:
    """Return True if an error, or what caused it, shows that a server answers without TLS."""
    origin: BaseException | None = error
    while origin is not None:
        # Subclasses of other packages may lack the attribute.
        if isinstance(origin, ssl.SSLError) and getattr(origin, "reason", "") in _ANSWERS_WITHOUT:
            return True
        origin = origin.__cause__ or origin.__context__
    return False


def _unusable(name: str, path: str | None, content: str, error: Exception) -> ConfigurationError:
    problem = getattr(error, "strerror", None) or "not in that form"
    return ConfigurationError(
        f"`{name}` must be a file with {content}; {path!r} cannot be used "
        f"({type(error).__name__}: {problem})"
    )
