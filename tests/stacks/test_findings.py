"""Every finding: a stack that has it, its texts, and that it can be silenced.

Add a new finding to `WRONG` here, and to `docs/findings.md`.
"""

from __future__ import annotations

import ast
import re
import warnings
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from key_value.aio.stores.memory import MemoryStore as TheirMemoryStore
from key_value.aio.wrappers.prefix_keys import PrefixKeysWrapper

from kvwrap import (
    Capability,
    ConfigurationError,
    Keyring,
    MemoryStore,
    Passthrough,
    SQLiteStore,
    StackWarning,
    adapt,
    from_config,
    stack,
)
from kvwrap.core.findings import Finding
from kvwrap.core.layer import Layer, layers_of
from kvwrap.integrations.fernet import FernetTokens

ROOT = Path(__file__).parents[2]
KEYS = Keyring({"k": b"k" * 32})


class NeverFrees(MemoryStore):
    """A store that keeps what has expired."""

    capabilities = MemoryStore.capabilities - {Capability.CULL}


class SharedMemory(MemoryStore):
    """Stands for a server that many processes use."""

    capabilities = MemoryStore.capabilities | {Capability.SHARED, Capability.PERSISTENT}


class RawMemory(SharedMemory):
    """Stands for a store whose values other programs read."""

    traits = frozenset({"raw"})


class Tenants(Passthrough):
    """Stands for a layer whose names depend on a context variable."""

    traits = frozenset({"contextual"})


IMPERATIVES = {"Add", "Bind", "Give", "Keep", "Let", "Put", "Remove", "Rewrite", "Use"}
"""What a hint begins with; no message does."""

# The code, and a stack that has the finding, outermost layer first; `at` is a folder.
WRONG = {
    "breaker-inside-timeout": lambda at: stack().timeout(1).circuit_breaker(),
    "breaker-outside-retry": lambda at: stack().circuit_breaker().retry(),
    "cache-inside-fallback": lambda at: (
        stack().fallback(MemoryStore).read_through(MemoryStore, ttl=1)
    ),
    "cache-inside-shadow": lambda at: stack().shadow(MemoryStore).read_through(MemoryStore, ttl=1),
    "cached-twice": lambda at: (
        stack().read_through(MemoryStore, ttl=1).read_through(MemoryStore, ttl=1)
    ),
    "chaos-over-real-data": lambda at: stack().chaos(),
    "coalesce-outside-cache": lambda at: stack().coalesce().read_through(MemoryStore, ttl=1),
    "coalesced-twice": lambda at: stack().coalesce().coalesce(),
    "coherence-refused": lambda at: stack().read_through(
        lambda: SQLiteStore(at / "near.db"), coherence="watch", ttl=1
    ),
    "compressed-twice": lambda at: stack().compress().compress(),
    "compression-inside-encryption": lambda at: stack().encrypt(KEYS).compress(),
    "concurrency-limit-outside-retry": lambda at: stack().limit_concurrency(9).retry(),
    "context-lost": lambda at: stack().read_through(MemoryStore, ttl=1).layer(Tenants()),
    "contexts-open": lambda at: stack().encrypt(KEYS, context=b"b", accept_contexts=[b"a"]),
    "decoded-not-kept": lambda at: (
        stack().encrypt(KEYS).read_through(MemoryStore, ttl=1, decoded=True)
    ),
    "default-inside-cache": lambda at: stack().read_through(MemoryStore, ttl=1).default_value(1),
    "default-inside-copies": lambda at: stack().shard([MemoryStore]).default_value(1),
    "default-inside-encryption": lambda at: stack().encrypt(KEYS).default_value(1),
    "double-encryption": lambda at: stack().encrypt(KEYS).encrypt(KEYS),
    "expiry-without-end": lambda at: stack().clamp_ttl(maximum=1),
    "guard-inside-write-behind": lambda at: stack().write_behind(at / "journal").limit_size(9),
    "hashed-keys-outside-routing": lambda at: (
        stack().hash_keys(b"s" * 32).route({"a*": MemoryStore}, by="key")
    ),
    "journal-outside-read-only": lambda at: stack().write_behind(at / "journal").read_only(),
    "key-prefix-outside-hashed-keys": lambda at: stack().prefix_key("a-").hash_keys(b"s" * 32),
    "keys-hashed-twice": lambda at: stack().hash_keys(b"s" * 32).hash_keys(b"t" * 32),
    "layer-under-one-store": lambda at: stack().route({"a*": MemoryStore}).prefix_key("p-"),
    "legacy-open": lambda at: stack().encrypt(KEYS, legacy=[FernetTokens(Fernet.generate_key())]),
    "limit-inside-transform": lambda at: stack().compress().limit_size(9),
    "log-of-values": lambda at: stack().log(values=True),
    "migration-open": lambda at: stack().encrypt(KEYS, accept_plaintext=True),
    "minimum-inside-encryption": lambda at: stack().encrypt(KEYS).clamp_ttl(minimum=9),
    "near-not-nearer": lambda at: stack().read_through(SharedMemory, ttl=1),
    "near-without-ttl": lambda at: stack().read_through(MemoryStore, coherence="ttl"),
    "pickle-unprotected": lambda at: stack().serialize("pickle"),
    "plain-keys-in-journal": lambda at: stack().write_behind(at / "journal").hash_keys(b"s" * 32),
    "plain-keys-in-near": lambda at: (
        stack().read_through(SQLiteStore(at / "near.db"), ttl=1).hash_keys(b"s" * 32)
    ),
    "plain-keys-in-second-store": lambda at: (
        stack().fallback(SQLiteStore(at / "fallback.db")).hash_keys(b"s" * 32)
    ),
    "plaintext-journal": lambda at: stack().write_behind(at / "journal").encrypt(KEYS),
    "plaintext-near": lambda at: stack().read_through(SharedMemory, ttl=1).encrypt(KEYS),
    "plaintext-pickle": lambda at: stack().serialize("pickle").encrypt(KEYS, accept_plaintext=True),
    "plaintext-second-store": lambda at: (
        stack().fallback(SQLiteStore(at / "fallback.db")).encrypt(KEYS)
    ),
    "prefix-inside-encryption": lambda at: stack().encrypt(KEYS).prefix_collection("a-"),
    "quorums-do-not-overlap": lambda at: stack().replicate([MemoryStore], write_quorum=1),
    "rate-limit-outside-retry": lambda at: stack().limit_rate(9).retry(),
    "renewals-end-copies": lambda at: stack().read_through(MemoryStore, ttl=1).slide_ttl(9),
    "retry-outside-cache": lambda at: stack().retry().read_through(MemoryStore, ttl=1),
    "retry-outside-fallback": lambda at: stack().retry().fallback(MemoryStore),
    "retry-outside-journal": lambda at: stack().retry().write_behind(at / "journal"),
    "retry-twice": lambda at: stack().retry().retry(),
    "sliding-inside-cache": lambda at: stack().read_through(MemoryStore, ttl=1).slide_ttl(9),
    "sliding-inside-encryption": lambda at: stack().encrypt(KEYS).slide_ttl(9),
    "sliding-over-maximum": lambda at: stack().slide_ttl(9).clamp_ttl(maximum=8),
    "statistics-inside-cache": lambda at: stack().read_through(MemoryStore, ttl=1).statistics(),
    "tags-cached-records": lambda at: stack().tags().read_through(MemoryStore, ttl=1).read_only(),
    "tags-inside-cache": lambda at: stack().read_through(MemoryStore, ttl=1).tags(),
    "tags-inside-encryption": lambda at: stack().encrypt(KEYS).tags(),
    "tags-over-raw": lambda at: stack().tags(),
    "tags-twice": lambda at: stack().tags().tags(),
    "timeout-outside-limit": lambda at: stack().timeout(1).limit_rate(9),
    "timeout-outside-retry": lambda at: stack().timeout(1).retry(),
    "two-journals": lambda at: stack().write_behind(at / "one").write_behind(at / "two"),
    "validate-twice": lambda at: stack().validate(dict).validate(dict),
}

FATAL = {
    "coherence-refused",
    "default-inside-encryption",
    "tags-inside-encryption",
    "tags-over-raw",
    "tags-twice",
}

OVER = {"expiry-without-end": NeverFrees, "tags-over-raw": RawMemory}
"""The stores that are no `SharedMemory`."""


def codes_in_the_code():
    for path in sorted((ROOT / "kvwrap").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                code = node.args[0]
                assert isinstance(code, ast.Constant), f"{path}: a code is written out"
                yield code.value


def built(code, at, *silenced):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = WRONG[code](at).silence(*silenced).over(OVER.get(code, SharedMemory)())
    return store, [str(w.message) for w in caught if w.category is StackWarning]


ON_USE = {"lock-over-fallback"}
"""Those that are reported once a method is used; its tests show them."""


def test_every_finding_has_a_stack_here():
    assert set(codes_in_the_code()) == {*WRONG, *ON_USE}
    assert len(WRONG) >= 12


def test_every_finding_is_documented():
    page = (ROOT / "docs" / "findings.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \|(.*)\|(.*)\|(.*)\|$", page, re.MULTILINE)
    codes = [code for code, *_ in rows]
    assert codes == sorted({*WRONG, *ON_USE})
    assert all(cell.strip() for row in rows for cell in row)


def declared(cls=Layer):
    """Return the codes that kvwrap's layers of this class and below declare."""
    own = cls.finding_codes if cls.__module__.startswith("kvwrap.") else frozenset()
    return own.union(*map(declared, cls.__subclasses__()))


def test_every_finding_is_declared_by_a_layer():
    assert declared() == {*WRONG, *ON_USE}


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
@pytest.mark.parametrize("code", sorted(set(WRONG) - FATAL))
def test_a_layer_declares_what_it_reports(code, tmp_path):
    layers = layers_of(built(code, tmp_path)[0])
    reported = set()
    for index, layer in enumerate(layers):
        base = OVER.get(code, SharedMemory)()
        found = {each.code for each in layer.findings(layers[:index], layers[index + 1 :], base)}
        assert found <= type(layer).finding_codes
        reported |= found
    assert code in reported


@pytest.mark.parametrize("code", sorted(set(WRONG) - FATAL))
def test_a_known_mistake_is_reported_and_can_be_silenced(code, tmp_path):
    store, told = built(code, tmp_path)
    mine = [text for text in told if text.startswith(f"{code}: ")]
    assert len(mine) == 1
    finding = next(finding for finding in store.findings if finding.code == code)
    assert mine[0] == f"{code}: {finding.message} {finding.hint}"
    assert f"! {code}: {finding.message}\n  {finding.hint}" in store.explain()
    for text in (finding.message, finding.hint):
        assert text.endswith(".")
        assert "  " not in text
    assert finding.hint.partition(" ")[0].rstrip(":") in IMPERATIVES

    others = {each.code for each in store.findings} - {code}
    silent, told = built(code, tmp_path, code)
    assert {each.code for each in silent.findings} == others
    assert code not in silent.explain()
    assert not any(text.startswith(code) for text in told)
    assert built(code, tmp_path, code, *others)[1] == []


@pytest.mark.parametrize("code", sorted(FATAL))
def test_a_stack_that_cannot_work_is_refused(code, tmp_path):
    for silenced in ((), (code,)):
        with pytest.raises(ConfigurationError, match=code) as caught:
            built(code, tmp_path, *silenced)
    assert "Put " in str(caught.value)


def test_codes_are_words_with_hyphens():
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)+", code) for code in WRONG)


# -- what a stack is over --------------------------------------------------------------------


class OnDisk(dict):
    """Stands for a shelf, a mapping of another library that may keep its items anywhere."""


def reported(layers, base):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {finding.code for finding in layers.over(base).findings}


@pytest.mark.parametrize(
    ("adapted", "external"),
    [
        (lambda: adapt({}), False),
        (lambda: adapt(OnDisk()), True),
        (lambda: adapt(TheirMemoryStore()), False),
        (lambda: adapt(PrefixKeysWrapper(TheirMemoryStore(), prefix="a")), True),
    ],
)
def test_entries_of_an_adapted_store_may_be_anywhere(adapted, external):
    for code, layers, base in (
        ("plaintext-near", stack().read_through(adapted, ttl=5).encrypt(KEYS), SharedMemory()),
        (
            "plain-keys-in-near",
            stack().read_through(adapted, ttl=5).hash_keys(b"s" * 32),
            SharedMemory(),
        ),
        ("plaintext-second-store", stack().fallback(adapted).encrypt(KEYS), SharedMemory()),
        ("pickle-unprotected", stack().serialize("pickle"), adapted()),
        ("prefix-inside-encryption", stack().encrypt(KEYS).prefix_key("a-"), adapted()),
        ("chaos-over-real-data", stack().chaos(), adapted()),
    ):
        assert (code in reported(layers, base)) == external, code


def test_the_serializer_of_the_store_itself_counts():
    def pickling():
        return SharedMemory(serializer="pickle")

    assert reported(stack().compress(), pickling()) == {"pickle-unprotected"}
    assert reported(stack().encrypt(KEYS), pickling()) == set()
    assert reported(stack().serialize("json"), pickling()) == set()
    assert reported(stack().compress(), MemoryStore(serializer="pickle")) == set()
    open_ = stack().encrypt(KEYS, accept_plaintext=True)
    assert reported(open_, pickling()) == {"migration-open", "plaintext-pickle"}
    assert reported(open_.serialize("json"), pickling()) == {"migration-open"}


def test_pickles_outside_the_encryption_count_wherever_they_are_kept(tmp_path: Path):
    """In a store or journal of a layer; encryption inside of it, or of the backend, is too late."""

    def pickling(layers):
        return "pickle-unprotected" in reported(stack().serialize("pickle") + layers, MemoryStore())

    def encrypted():
        return stack().encrypt(KEYS).over(SharedMemory())

    seal = stack().encrypt(KEYS)
    for number, (keeps, alike) in enumerate(
        (
            (stack().read_through(SharedMemory, ttl=1), stack().read_through(encrypted, ttl=1)),
            (stack().fallback(SharedMemory), stack().fallback(encrypted)),
            (stack().shadow(SharedMemory), stack().shadow(encrypted)),
            (stack().write_behind(tmp_path / "journal"), stack().read_through(MemoryStore, ttl=1)),
        )
    ):
        assert pickling(keeps), number
        assert pickling(keeps + seal), number
        assert not pickling(seal + keeps), number
        assert not pickling(alike), number
        assert not pickling(alike + seal), number


def test_a_pickling_store_is_reported_once_and_can_be_silenced():
    with pytest.warns(StackWarning, match="pickle-unprotected"):
        inner = stack().compress().over(SharedMemory(serializer="pickle"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outer = stack().retry().over(inner)
        assert [finding.code for finding in outer.findings] == ["pickle-unprotected"]
        silent = stack().compress().silence("pickle-unprotected")
        assert silent.over(SharedMemory(serializer="pickle")).findings == ()


def test_the_serializers_position_has_no_effect():
    assert reported(stack().encrypt(KEYS).serialize("pickle"), SharedMemory()) == set()


# -- how findings are reported -------------------------------------------------------------


class Picky(Passthrough):
    """Reports a mistake at every position."""

    def findings(self, above, below, base):
        yield Finding("picky", "Nothing is right.", "Leave it.")


def test_a_warning_points_to_the_line_that_builds_the_stack():
    with pytest.warns(StackWarning) as caught:
        stack(Picky()).over(MemoryStore())
    assert caught[0].filename == __file__
    with pytest.warns(StackWarning) as caught:
        Picky().over(MemoryStore())
    assert caught[0].filename == __file__


def test_a_finding_of_an_inner_stack_is_reported_once():
    with pytest.warns(StackWarning):
        inner = stack(Picky()).over(MemoryStore())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outer = stack().statistics().over(inner)
    assert [finding.code for finding in outer.findings] == ["picky"]


def test_a_finding_that_an_inner_stack_silenced_stays_silent():
    inner = stack(Picky()).silence("picky").over(MemoryStore())
    outer = stack().statistics().over(inner)
    assert outer.findings == ()
    assert outer.silenced == {"picky"}


def test_findings_of_second_stores_are_explained_with_their_role():
    with pytest.warns(StackWarning):
        near = stack(Picky()).over(MemoryStore())
    store = stack().read_through(near, ttl=1).over(MemoryStore())
    assert "! picky: near: Nothing is right." in store.explain()


def test_a_configuration_silences_by_code():
    table = {"store": "memory://", "layers": ["retry", "retry"], "silence": ["retry-twice"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert from_config(table).findings == ()


# -- the tree ------------------------------------------------------------------------------


def test_the_tree_has_second_stores_as_branches():
    near = stack().clamp_ttl(maximum=9).over(MemoryStore(max_entries=5))
    store = (
        stack()
        .statistics(name="s")
        .shard({"b": MemoryStore})
        .read_through(near, ttl=3)
        .over(MemoryStore())
    )
    tree, can = store.explain().split("\ncan: ")
    lines = [line for line in tree.splitlines() if "·" not in line]
    assert lines == [
        "Statistics(name='s')",
        "└─ Sharding()",
        "   ├─ shard 'b': MemoryStore()",
        "   └─ ReadThrough(ttl=3)",
        "      ├─ near: TTLClamp(maximum=9)",
        "      │  └─ MemoryStore(max_entries=5)",
        "      └─ MemoryStore()",
    ]
    assert can.startswith(", ".join(sorted(store.capabilities)))


def test_a_bare_store_is_one_line_and_its_capabilities():
    class Little(MemoryStore):
        capabilities = frozenset()

    assert Little().explain() == "Little()\ncan: get, put and delete only"


def test_secrets_are_not_in_the_tree():
    class Client(Passthrough):
        def __init__(self, url, *, api_key=None, **options):
            pass

    store = Client("db://ada:hunter2@host/1?token=hunter2", api_key="hunter2").over(MemoryStore())
    assert "hunter2" not in store.explain()
    assert "Client(url='db://***@host/1?token=***', api_key=***)" in store.explain()
    assert "hunter2" not in stack().hash_keys("hunter2" * 9).over(MemoryStore()).explain()


def test_a_layer_in_the_stack_of_every_store_is_under_none_alone() -> None:
    whole = stack().compress()
    inner, other = whole.over(MemoryStore()), lambda: whole.over(MemoryStore())
    assert stack().route({"a*": other}).over(inner).findings == ()
    with pytest.warns(StackWarning, match="layer-under-one-store"):
        stack().route({"a*": other, "b*": MemoryStore}).over(inner)


CONTEXT_LOST = {
    "read_through": lambda at: stack().read_through(MemoryStore, ttl=1),
    "coalesce": lambda at: stack().coalesce(),
    "write_behind": lambda at: stack().write_behind(at / "journal"),
    "fallback": lambda at: stack().fallback(MemoryStore),
    "shadow": lambda at: stack().shadow(MemoryStore),
}


@pytest.mark.parametrize("name", CONTEXT_LOST)
def test_a_layer_that_needs_a_context_is_outside_those_that_lose_it(name, tmp_path):
    with pytest.warns(StackWarning, match="context-lost: Tenants depends"):
        CONTEXT_LOST[name](tmp_path).layer(Tenants()).over(MemoryStore())
    stack(Tenants(), *CONTEXT_LOST[name](tmp_path).layers).over(MemoryStore())
