"""What people search for leads to the right page: titles and headings have the field's terms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text("utf-8") for path in DOCS.rglob("*.md")}
WANTED = {
    "stampede": "guides/cache_stampede.md",
    "dogpile": "guides/cache_stampede.md",
    "thundering herd": "guides/cache_stampede.md",
    "cache": "guides/cache_a_function.md",
    "install": "index.md",
    "django": "integrations/django.md",
    "fastapi": "integrations/starlette.md",
    "fastmcp": "integrations/fastmcp.md",
    "retry": "layers/retry.md",
    "rotation": "keyring.md",
    "redis": "stores/redis.md",
    "compression": "layers/compression.md",
    "encryption": "layers/encryption.md",
    "lock": "guides/locks.md",
    "security": "security.md",
    "glossary": "glossary.md",
    "benchmarks": "benchmarks.md",
}
TERMS = (
    *("stampede", "dogpile", "thundering herd", "cache-aside", "read-through", "write-behind"),
    *("TTL jitter", "fencing token", "lease", "near cache", "client-side caching", "invalidation"),
    *("key rotation", "envelope encryption", "single flight", "negative caching", "write-through"),
    *("memoization", "backoff", "circuit breaker", "quorum", "tombstone", "consistent hashing"),
)


def headings(text: str) -> list[str]:
    """Return the title of a page and its headings, lowest level last."""
    plain = re.sub(r"(?ms)^```.*?^```", "", text)
    found = re.findall(r"^(#+) (.+)$", plain, re.MULTILINE)
    return [title.casefold() for _, title in sorted(found, key=lambda each: len(each[0]))]


def score(word: str, text: str) -> int:
    """Rate a page as a search engine does: by its title, its headings and its text."""
    has = re.compile(rf"\b{re.escape(word)}").search
    title, *others = headings(text) or [""]
    plain = re.sub(r"(?ms)^```.*?^```", "", text).casefold()
    return (
        1_000 * bool(has(title))
        + 100 * sum(bool(has(each)) for each in others)
        + min(99, len(re.findall(rf"\b{re.escape(word)}", plain)))
    )


@pytest.mark.parametrize("word", WANTED)
def test_a_search_finds_the_right_page_among_the_first(word: str) -> None:
    ranking = sorted(PAGES, key=lambda page: -score(word, PAGES[page]))
    assert WANTED[word] in ranking[:3], ranking[:6]
    if word not in ("cache", "redis", "retry", "encryption"):  # words of several pages
        title = " ".join(headings(PAGES[WANTED[word]])[:4])
        assert word in title


@pytest.mark.parametrize("term", TERMS)
def test_the_glossary_has_each_term_with_a_link(term: str) -> None:
    row = re.search(rf"^\| {re.escape(term)} \| .+$", PAGES["glossary.md"], re.MULTILINE)
    assert row, f"no row of {term}"
    assert re.search(r"\]\([\w/]+\.md", row[0]), f"the row of {term} has no link"


def test_links_of_the_glossary_lead_to_pages() -> None:
    targets = re.findall(r"\]\(([\w/]+\.md)", PAGES["glossary.md"])
    assert len(targets) > 40
    assert [each for each in targets if each not in PAGES] == []
