"""The pictures of the documentation are what the stacks draw now, fit, and are shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvwrap import Passthrough
from kvwrap.builder import LAYERS
from scripts import drawings
from tests.core.drawing.measure import Drawing

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
IMAGE = re.compile(r"!\[([^\]]*)\]\(([\w./]*assets/drawings/(\w+)\.svg)\)")
DRAWN = dict(drawings.pictures())


def shown(page: Path) -> dict[str, tuple[str, str]]:
    """Return the pictures on a page by name, each with its description and path."""
    return {name: (alt, path) for alt, path, name in IMAGE.findall(page.read_text("utf-8"))}


def test_the_pictures_are_those_of_the_stacks() -> None:
    stale = [
        name
        for name, picture in DRAWN.items()
        if not (drawings.FOLDER / f"{name}.svg").is_file()
        or (drawings.FOLDER / f"{name}.svg").read_text("utf-8") != picture
    ]
    assert not stale, f"run `python -m scripts.drawings`, which changes {stale}"
    assert {path.stem for path in drawings.FOLDER.iterdir()} == set(DRAWN)


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_fits(name: str) -> None:
    assert not list(Drawing(DRAWN[name]).faults())


def test_every_picture_is_shown_and_described() -> None:
    names = set()
    for page in PAGES:
        for name, (description, path) in shown(page).items():
            names.add(name)
            assert (page.parent / path).is_file()
            assert len(description) > 60, f"{page}: {description}"
    assert names == set(DRAWN)


@pytest.mark.parametrize("name", drawings.RECOMMENDED)
def test_the_page_of_a_layer_shows_it_in_its_stack(name: str) -> None:
    layer = LAYERS.get(name, Passthrough)
    page = ROOT / "docs" / "layers" / f"{layer.__module__.split('.')[2]}.md"
    description, _ = shown(page)[f"layer_{name}"]
    above, own, below = re.fullmatch(
        r".*, with (?:(\w+) )?(?:outermost|below (\w+)) and above ([\w ]+)", description
    ).groups()  # type: ignore[union-attr]
    names = [part.name for part in drawings.of_layer(name).layers]
    place = names.index(layer.__name__)
    assert own is None if place == 0 else own == names[place - 1]
    assert above == layer.__name__
    assert below == (names[place + 1] if place + 1 < len(names) else "the store")
    picture = Drawing(DRAWN[f"layer_{name}"])
    (card,) = (box for box in picture.boxes if "chosen" in box.kind)
    assert any(card.holds(text) and text.kind == layer.__name__ for text in picture.texts)


def test_every_layer_has_a_picture_in_the_recommended_order() -> None:
    assert set(drawings.RECOMMENDED) == {*LAYERS, "passthrough"}
    overview = (ROOT / "docs" / "layers" / "index.md").read_text("utf-8")
    listed = re.findall(r"\| `\.(\w+)` \|", overview.partition("## All layers")[2])
    assert [name for name in drawings.RECOMMENDED if name != "passthrough"] == listed
