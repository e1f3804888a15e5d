"""The URLs and arguments of ObjectStore."""

from __future__ import annotations

from typing import Any

import pytest

from kvwrap import ConfigurationError, ObjectStore, store_from_url


def test_urls() -> None:
    store = store_from_url("s3://key:hun%2Fter2@Bucket/a/b/?region=eu-1&timeout=none")
    assert isinstance(store, ObjectStore)
    assert store.location == "prefix 'a/b' of S3 bucket 'Bucket' at eu-1"
    assert "ter2" not in repr(store) + store.explain()
    store = store_from_url("az://account@container?endpoint=https://h:1/x&max_concurrency=3")
    assert store.location == "prefix '' of Azure container 'container' at https://h:1/x"
    assert ObjectStore("s3://bucket").location == "prefix '' of S3 bucket 'bucket' at AWS"
    assert ObjectStore("s3://bucket", prefix="p").location == ObjectStore("s3://bucket/p").location


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///tmp/x", "FileTreeStore keeps entries in a local folder"),
        ("memory://", "MemoryStore keeps entries in memory"),
        ("gs://bucket", "s3:// or az://"),
        ("s3://", "s3://bucket/prefix"),
        ("s3://a", "s3://bucket/prefix"),
        ("s3://key@bucket", "the access key and the secret"),
        ("s3://:hunter2@bucket", "the access key and the secret"),
        ("s3://key:hun/ter2@bucket", "written as %2F"),
        ("s3://bucket/a//b", "neither an empty part"),
        ("s3://bucket/../a", "a dot at the ends"),
        ("s3://bucket/a.", "a dot at the ends"),
        ("s3://bucket/ü", "letters, digits"),
        ("s3://bucket/" + "x" * 257, "at most 256"),
        ("s3://bucket?region=x", "pass them to ObjectStore as"),
    ],
)
def test_urls_that_cannot_work(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        ObjectStore(url)
    assert "ter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either `url` or `client`"),
        ({"url": "s3://bucket", "client": object()}, "either `url` or `client`"),
        ({"url": "s3://bucket/a", "prefix": "b"}, "given once"),
        ({"url": "s3://bucket", "endpoint": "ftp://x"}, "https://"),
        ({"url": "s3://bucket", "timeout": 0}, "timeout"),
        ({"url": "s3://bucket", "ca": "/nowhere"}, "`ca` must be a file"),
    ],
)
def test_options_that_cannot_work(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ObjectStore(**arguments)


def test_unknown_options_of_a_url() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'region'"):
        store_from_url("s3://bucket?regio=x")
    with pytest.raises(ConfigurationError, match="'#'"):
        store_from_url("s3://bucket/a#x?timeout=3")


async def test_what_the_driver_refuses_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    async with ObjectStore("az://container", timeout=5) as store:
        with pytest.raises(ConfigurationError, match="the driver accepts"):
            await store.get("a")
    async with ObjectStore("az://account:no%20base64@container") as store:
        with pytest.raises(ConfigurationError) as caught:
            await store.get("a")
        assert "base64" not in str(caught.value)
