"""Where the objects of a store are: its URL or client, and its other arguments, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from kvwrap.core.validation import checked_name, checked_seconds
from kvwrap.errors import ConfigurationError
from kvwrap.stores.object.bucket import driver
from kvwrap.stores.object.objects import LONGEST_PREFIX
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.tls import make_endpoint_tls

_BUCKET: Final = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{2,62}")
_SEGMENT: Final = r"[A-Za-z0-9_=-](?:[A-Za-z0-9_=.-]*[A-Za-z0-9_=-])?"
_PREFIX: Final = re.compile(f"{_SEGMENT}(?:/{_SEGMENT})*")
_ELSEWHERE: Final = {
    "file": "FileTreeStore keeps entries in a local folder",
    "memory": "MemoryStore keeps entries in memory",
}
_OTHER_CLIENTS: Final = {"LocalStore": _ELSEWHERE["file"], "MemoryStore": _ELSEWHERE["memory"]}


class Place(NamedTuple):
    """What a URL says.

    Attributes:
        service: "s3" or "az".
        bucket: Name of the bucket or container.
        prefix: The prefix of all objects; may be empty.
        username: Access key of S3, or account of Azure; None if the environment has it.
        password: The secret or the account's key, or None.
    """

    service: str
    bucket: str
    prefix: str = ""
    username: str | None = None
    password: str | None = None


@dataclass(frozen=True, kw_only=True)
class ObjectOptions:
    """The bucket and where it is; the arguments of `ObjectStore`, which documents them.

    Attributes:
        place: The URL, or what takes its place; it may contain a secret.
        prefix: What all objects have in front, without a slash at the end; may be empty.
        client: A store of the driver, or None.
    """

    place: Place = field(repr=False)
    prefix: str
    client: Any
    endpoint: str | None
    region: str | None
    ca: str | None
    timeout: float | None

    @property
    def server(self) -> str:
        """The bucket and its service, for errors."""
        kind, owner = ("S3 bucket", "AWS")
        if self.place.service == "az":
            kind, owner = "Azure container", "Azure"
        if self.client is not None:
            owner = "the endpoint of the client"
        return f"{kind} {self.place.bucket!r} at {self.endpoint or self.region or owner}"


def checked_options(
    url: str | None,
    client: Any,
    prefix: str | None,
    *,
    endpoint: str | None,
    region: str | None,
    tls: bool | None,
    ca: str | None,
    timeout: float | None,
) -> ObjectOptions:
    """Return the arguments of `ObjectStore`.

    Raises:
        ConfigurationError: They cannot work.
    """
    if (url is None) == (client is None):
        raise ConfigurationError("either `url` or `client` must be given")
    for name, text in (("endpoint", endpoint), ("region", region)):
        if text is not None:
            checked_name(text, name)
            if client is not None:
                raise ConfigurationError(f"`{name}` must not be given with a client")
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        raise ConfigurationError("`endpoint` must begin with https:// or http://")
    if timeout is not None:
        checked_seconds(timeout, "timeout")
    make_endpoint_tls(("endpoint", endpoint), tls, ca)
    place = _place_of_client(client) if url is None else _place(url)
    if prefix is not None and place.prefix:
        raise ConfigurationError("`prefix` must be given once; the URL has one already")
    chosen = place.prefix if prefix is None else checked_name(prefix, "prefix")
    if chosen and (not _PREFIX.fullmatch(chosen) or len(chosen) > LONGEST_PREFIX):
        raise ConfigurationError(
            f"the prefix must consist of at most {LONGEST_PREFIX} letters, digits, _, -, =, . and "
            f"/, with neither an empty part nor a dot at the ends of one; got {chosen!r}"
        )
    return ObjectOptions(
        place=place,
        prefix=chosen,
        client=client,
        endpoint=endpoint,
        region=region,
        ca=ca,
        timeout=timeout,
    )


def _place(url: object) -> Place:
    text = url if isinstance(url, str) else ""
    scheme = text.partition("://")[0]
    if scheme in _ELSEWHERE:
        raise ConfigurationError(
            f"the URL of an ObjectStore must begin with s3:// or az://; {_ELSEWHERE[scheme]}"
        )
    parts = urls.split_url(text, "s3", "az")
    login, _, bucket = parts.netloc.rpartition("@")
    path = unquote(parts.path.strip("/"))
    if parts.query:
        raise ConfigurationError(
            "the options of a URL are those of store_from_url; pass them to ObjectStore as "
            "arguments"
        )
    username, colon, password = login.partition(":")
    # The URL is not quoted: it may contain a secret, also in a wrong place.
    if "@" in path or not _BUCKET.fullmatch(bucket):
        raise ConfigurationError(
            "the URL of an ObjectStore must be s3://bucket/prefix or az://container/prefix, with a "
            "login as key:secret@ before the bucket, in which / is written as %2F; got another one"
        )
    if parts.scheme == "s3" and bool(username) != bool(password):
        raise ConfigurationError(
            "the URL of an ObjectStore must have the access key and the secret of S3, or neither"
        )
    return Place(
        parts.scheme,
        bucket,
        path,
        unquote(username) if username else None,
        unquote(password) if colon else None,
    )


def _place_of_client(client: Any) -> Place:
    stores = driver("obstore.store")
    kind = type(client).__name__
    if not isinstance(client, stores.S3Store | stores.AzureStore):
        raise ConfigurationError(
            "`client` must be an S3Store or an AzureStore of obstore; "
            f"{_OTHER_CLIENTS.get(kind, f'got {kind}')}"
        )
    if (client.retry_config or {}).get("max_retries") != 0:
        raise ConfigurationError(
            '`client` must have retry_config={"max_retries": 0}: a conditional write that the '
            "driver repeats unseen may be refused because of itself"
        )
    is_s3 = isinstance(client, stores.S3Store)
    name = client.config.get("bucket" if is_s3 else "container_name", "")
    return Place("s3" if is_s3 else "az", name)
