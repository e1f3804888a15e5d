"""ElasticsearchStore: what a server's refusals mean. The servers of the tests have neither logins
nor full disks, so a proxy answers as such servers do."""

from __future__ import annotations

import http.client
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from kvwrap import (
    AccessDenied,
    ConfigurationError,
    ElasticsearchStore,
    KvwrapError,
    StoreFull,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.testing.servers import ElasticsearchProxy, Reply, Request

BLOCK = "index [i] blocked by: [{}/12/disk usage exceeded flood-stage watermark];"


def error(kind: str, reason: str = "hidden") -> Any:
    return {"error": {"type": kind, "reason": reason}}


def refusal(status: int, kind: str = "some_exception", reason: str = "hidden") -> Reply:
    return Reply(status, {**error(kind, reason), "status": status})


class Answers:
    """Answers the next requests for documents, and lets others through."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.seen: list[Request] = []

    def __call__(self, request: Request) -> Reply | None:
        if "/_doc/" not in request.path and "/_bulk" not in request.path:
            return None
        self.seen.append(request)
        return self.replies.pop(0) if self.replies else None


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture(params=["elasticsearch", "opensearch"])
def scripted(request: pytest.FixtureRequest, url: str, answers: Answers) -> Iterator[str]:
    """Yield the URL of a server that gives these answers, for each of the drivers."""
    with ElasticsearchProxy(url, intercept=answers) as proxy:
        yield f"{request.param}://127.0.0.1:{proxy.port}"


@asynccontextmanager
async def opened(url: str, prefix: str, timeout: float = 60) -> AsyncIterator[ElasticsearchStore]:
    async with ElasticsearchStore(url, index_prefix=prefix, timeout=timeout) as store:
        await store.ping()
        yield store
        await store.destroy()


@pytest.mark.parametrize(
    ("reply", "meaning", "message"),
    [
        (refusal(401, "security_exception"), StoreUnavailable, "refuses this login"),
        (Reply(401, "Unauthorized"), StoreUnavailable, "refuses this login"),
        (refusal(403, "security_exception"), AccessDenied, "extend its privileges"),
        (refusal(413), ValueTooLarge, "http.max_content_length"),
        (Reply(413), ValueTooLarge, "http.max_content_length"),
        (
            refusal(403, "cluster_block_exception", BLOCK.format("FORBIDDEN")),
            StoreFull,
            "nearly no disk",
        ),
        (
            refusal(429, "cluster_block_exception", BLOCK.format("TOO_MANY_REQUESTS")),
            StoreFull,
            "nearly no disk",
        ),
        (
            refusal(403, "cluster_block_exception", "blocked by: [FORBIDDEN/8/index write (api)];"),
            StoreUnavailable,
            "refused the request",
        ),
        (refusal(400, "parse_exception"), StoreUnavailable, "400 parse_exception"),
        (refusal(500), StoreUnavailable, "500"),
        (Reply(502, "<html>"), StoreUnavailable, "502"),
        (Reply(200, "<html>"), StoreUnavailable, "200 of another program"),
        (Reply(200, {"message": "hidden"}), StoreUnavailable, "200 of another program"),
        (Reply(403, {"Message": "hidden"}), AccessDenied, "extend its privileges"),
        (Reply(404, {"message": "hidden"}), StoreUnavailable, "404"),
        (Reply(404, "<html>"), StoreUnavailable, "404"),
        (refusal(503, "unavailable_shards_exception"), StoreUnavailable, "503"),
    ],
)
async def test_refusals_are_typed_and_not_quoted(
    scripted: str,
    answers: Answers,
    prefix: str,
    reply: Reply,
    meaning: type[KvwrapError],
    message: str,
) -> None:
    async with opened(scripted, prefix) as store:
        answers.replies = [reply]
        with pytest.raises(meaning, match=message) as caught:
            await store.put("a", 1)
        assert type(caught.value) is meaning
        assert caught.value.key == "a"
        assert scripted.rpartition("/")[2] in str(caught.value)
        assert "hidden" not in str(caught.value)
        await store.put("a", 1)
        assert await store.get("a") == 1


@pytest.mark.parametrize(
    "reply", [Reply(200, {"a": 1}), Reply(404, {"message": "hidden"}), Reply(404, "<html>")]
)
async def test_an_answer_of_another_program_is_not_taken_for_a_missing_entry(
    scripted: str, answers: Answers, prefix: str, reply: Reply
) -> None:
    async with opened(scripted, prefix) as store:
        await store.put("a", 1)
        answers.replies = [reply]
        with pytest.raises(StoreUnavailable) as caught:
            await store.get("a")
        assert "hidden" not in str(caught.value)
        answers.replies = [reply]
        with pytest.raises(StoreUnavailable):
            await store.put_many(["a", "b"], [1, 2])
        assert await store.get("a") == 1


async def test_a_busy_server_is_asked_again(scripted: str, answers: Answers, prefix: str) -> None:
    async with opened(scripted, prefix) as store:
        busy = refusal(429, "rejected_execution_exception")
        answers.replies = [busy, busy]
        await store.put("a", 1)
        answers.replies = [busy]
        assert await store.get("a") == 1
        answers.replies = [refusal(503, "no_shard_available_action_exception")]
        assert await store.get("a") == 1


async def test_a_server_that_stays_busy_is_given_up(
    scripted: str, answers: Answers, prefix: str
) -> None:
    async with opened(scripted, prefix) as store:
        await store.put("a", 1)
    async with ElasticsearchStore(scripted, index_prefix=prefix, timeout=3) as store:
        while True:
            answers.replies = [refusal(429, "rejected_execution_exception")] * 1000
            try:
                await store.get("a")
            except StoreUnavailable as error:
                if "asked too much of" in str(error):
                    break
        answers.replies = []
        assert await store.get("a") is None
    async with opened(scripted, prefix):
        pass


def items(*outcomes: tuple[int, str]) -> Reply:
    described = [
        {"index": {"_id": "x", "status": status, **(error(kind) if kind else {})}}
        for status, kind in outcomes
    ]
    return Reply(200, {"took": 1, "errors": any(kind for _, kind in outcomes), "items": described})


async def test_a_part_of_a_batch_that_a_server_is_too_busy_for_is_sent_again(
    scripted: str, answers: Answers, prefix: str
) -> None:
    async with opened(scripted, prefix) as store:
        await store.put_many(["a", "b"], [0, 0])
        answers.seen.clear()
        answers.replies = [items((201, ""), (429, "rejected_execution_exception"))]
        await store.put_many(["a", "b"], [1, 2])
        # Only the second one was sent again.
        sent = [json.loads(request.body.splitlines()[0]) for request in answers.seen]
        assert sent == [{"index": {"_id": ":a"}}, {"index": {"_id": ":b"}}]
        assert await store.get_many(["a", "b"]) == [0, 2]


async def test_an_error_in_the_middle_of_a_batch_names_what_succeeded(
    scripted: str, answers: Answers, prefix: str
) -> None:
    async with opened(scripted, prefix) as store:
        answers.replies = [items((201, ""), (403, "security_exception"), (200, ""))]
        with pytest.raises(AccessDenied) as caught:
            await store.put_many(["a", "b", "c"], [1, 2, 3])
        assert caught.value.succeeded == ("a", "c")


async def test_a_conditional_write_that_was_carried_out_twice_recognizes_itself(
    url: str, prefix: str
) -> None:
    """A server carries out a write again if a shard moves meanwhile, and refuses it then."""
    address = urlsplit(url).netloc
    losing = False

    def carry_out_and_refuse(request: Request) -> Reply | None:
        nonlocal losing
        if not losing or "/_bulk" not in request.path:
            return None
        losing = False
        upstream = http.client.HTTPConnection(address)
        upstream.request("POST", request.path, request.body, {"content-type": "application/json"})
        assert b'"errors":false' in upstream.getresponse().read()
        upstream.close()
        return items((409, "version_conflict_engine_exception"))

    with ElasticsearchProxy(url, intercept=carry_out_and_refuse) as proxy:
        async with opened(f"{proxy.url}", prefix) as store:
            losing = True
            assert await store.put_if_absent("a", 1) is True
            assert await store.put_if_absent("a", 2) is False
            losing = True
            assert await store.increment("n") == 1
            losing = True
            assert await store.increment("n") == 2
            assert await store.get_many(["a", "n"]) == [1, 2]


@pytest.mark.parametrize("path", ["/_mapping", "/_nodes/http"])
async def test_an_account_for_documents_only(url: str, prefix: str, path: str) -> None:
    """It may neither look at the index nor delete it, and uses it as it is."""
    async with opened(url, prefix) as store:
        await store.put("a", 1)

        def deny(request: Request) -> Reply | None:
            is_denied = path in request.path or request.method == "DELETE"
            return refusal(403, "security_exception") if is_denied else None

        with ElasticsearchProxy(url, intercept=deny) as proxy:
            async with ElasticsearchStore(f"{proxy.url}/{prefix}", timeout=60) as restricted:
                assert await restricted.get("a") == 1
                await restricted.put("b", "x" * 2_000_000)
                assert await restricted.keys() == ["a", "b"]
                assert await restricted.destroy() is True
                assert await restricted.destroy() is False
        await store.put("a", 1)


async def test_an_index_that_may_not_be_made(url: str, prefix: str) -> None:
    def deny(request: Request) -> Reply | None:
        is_denied = request.method == "PUT" and request.path == f"/{prefix}-000001"
        return refusal(403, "security_exception") if is_denied else None

    with ElasticsearchProxy(url, intercept=deny) as proxy:
        async with ElasticsearchStore(f"{proxy.url}/{prefix}", timeout=60) as store:
            with pytest.raises(AccessDenied, match="extend its privileges"):
                await store.put("a", 1)


async def test_a_part_of_the_shards_is_not_taken_for_the_whole(url: str, prefix: str) -> None:
    def fail(request: Request) -> Reply | None:
        if "/_refresh" in request.path or "/_count" in request.path:
            return Reply(200, {"count": 0, "_shards": {"failed": 1}})
        return None

    with ElasticsearchProxy(url, intercept=fail) as proxy:
        async with opened(url, prefix) as own:
            await own.put("a", 1)
            async with ElasticsearchStore(f"{proxy.url}/{prefix}", timeout=60) as store:
                for call in (store.keys(), store.count(), store.collections()):
                    with pytest.raises(StoreUnavailable, match="503 partial"):
                        await call


async def test_elasticsearchs_driver_refuses_other_products(url: str, prefix: str) -> None:
    def answer(request: Request) -> Reply | None:
        return Reply(200, {}) if "/_mapping" in request.path else None

    server = url.replace("opensearch://", "elasticsearch://")
    async with ElasticsearchStore(server, index_prefix=prefix, timeout=60) as store:
        with pytest.raises(ConfigurationError, match="use opensearch:// for OpenSearch"):
            await store.put("a", 1)
    with ElasticsearchProxy(url, intercept=answer, product="Other") as proxy:
        async with ElasticsearchStore(f"{proxy.url}/{prefix}", timeout=60) as store:
            with pytest.raises(ConfigurationError, match="which its driver insists on"):
                await store.put("a", 1)
