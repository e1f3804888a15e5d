"""Buckets of the servers that the tests share; each test has a prefix of its own in them."""

from __future__ import annotations

from functools import cache

from kvwrap.testing.servers import AzuriteServer, MotoServer

BUCKET = "kvwrap-tests"


@cache
def s3_bucket(endpoint: str) -> str:
    """Return the URL of a bucket of S3, which exists then."""
    MotoServer.make_bucket(endpoint, BUCKET)
    return f"s3://{BUCKET}"


@cache
def azure_container(endpoint: str) -> str:
    """Return the URL of a container of Azure, with its login; it exists then."""
    AzuriteServer.make_container(endpoint, BUCKET)
    return f"az://{AzuriteServer.login}@{BUCKET}"
