"""The masters of a cluster, in the words of one of its nodes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from kvwrap import StoreUnavailable
from kvwrap.stores.redis import links
from kvwrap.stores.redis.masters import parse_masters
from kvwrap.stores.redis.options import RedisOptions
from kvwrap.stores.shared.urls import Address

ASKED = Address("asked", 7000)
NODES = b"""\
a 10.0.0.1:7001@17001,one.example myself,master - 0 0 1 connected 0-5460
b 10.0.0.2:7002@17002 master - 0 0 2 connected 5461-10922 [93->-c]
c 10.0.0.3:7003@17003 master,fail? - 0 0 3 connected 10923-16383
d 10.0.0.4:7004@17004 slave a 0 0 1 connected
e 10.0.0.5:7005@17005 master - 0 0 4 connected
f :0@0 master,noaddr - 0 0 5 disconnected
g 10.0.0.7:7007@17007 handshake - 0 0 0 connected
"""
SLOTS: list[Any] = [
    [0, 5460, [b"one.example", 7001, b"a", []], [b"four.example", 7004, b"d"]],
    [5461, 10922, [None, 7002, b"b"]],
]


def test_masters_have_the_addresses_for_clients() -> None:
    masters = parse_masters(NODES, SLOTS, ASKED)
    assert masters.own == "a"
    assert masters.is_settled
    assert masters.addresses == {
        "a": Address("one.example", 7001),
        "b": Address("asked", 7002),
        "c": Address("10.0.0.3", 7003),
        "e": Address("10.0.0.5", 7005),
    }


@pytest.mark.parametrize(("slots", "is_settled"), [(b" 10923-16383", False), (b"", True)])
def test_a_failed_master_with_slots_may_be_replaced(slots: bytes, is_settled: bool) -> None:
    failed = b"c 10.0.0.3:7003@17003 master,fail - 0 0 3 connected" + slots + b"\n"
    masters = parse_masters(failed + NODES.splitlines()[0], [], None)
    assert masters.is_settled is is_settled
    assert set(masters.addresses) == {"a"}


@pytest.mark.parametrize("nodes", [None, 7, [b"a"], b"a", b"a b c\xff", b"a x master - 0 0 1 c"])
def test_other_answers_are_an_outage(nodes: Any) -> None:
    with pytest.raises(StoreUnavailable, match="CLUSTER NODES"):
        parse_masters(nodes, [], ASKED)


A, B = "a h:1@9 {}master - 0 0 1 connected 0-9", "b h:2@9 {}master - 0 0 1 connected 10-99"
SEEN_BY_A = f"{A}\n{B}".format("myself,", "")
SEEN_BY_B = f"{A}\n{B}".format("", "myself,")
OTHER = "\nc h:3@9 master{} - 0 0 1 connected{}"


@pytest.mark.parametrize(
    ("others", "is_whole"),
    [
        ("", True),
        (OTHER.format(",fail", ""), True),  # nobody takes its place
        (OTHER.format(",fail", " 100-200"), False),
        (OTHER.format("", ""), False),
        (OTHER.format("", " 100-200"), False),
    ],
)
async def test_a_link_is_whole_while_its_masters_are_all_that_may_have_a_key(
    monkeypatch: pytest.MonkeyPatch, others: str, is_whole: bool
) -> None:
    seen = {"h:6379": SEEN_BY_A, "h:1": SEEN_BY_A, "h:2": SEEN_BY_B}

    class View:
        """A connection to a master, which sees the cluster so."""

        def __init__(self, pool: object, server: str, *listeners: object) -> None:
            self.place = server.removeprefix("Redis at ")

        async def connect(self) -> None:
            pass

        async def track(self, prefix: str) -> None:
            pass

        async def ask(self, *command: str) -> Any:
            answers = {"CLUSTER NODES": seen[self.place].encode(), "CLUSTER SLOTS": []}
            return answers.get(command[0], b"PONG")

        async def close(self) -> None:
            pass

    monkeypatch.setattr(links, "Wire", View)
    options = RedisOptions(url="redis+cluster://h", timeout=60)
    link = links.ClusterLink(options, "RedisStore", cast("Any", SimpleNamespace(cut=None)))
    await link.connect()
    await link.ping()
    seen["h:1"] += others
    if is_whole:
        await link.ping()
    else:
        with pytest.raises(StoreUnavailable, match="other masters than before"):
            await link.ping()
