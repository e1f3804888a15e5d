"""`docs/story.md` has the figures and plots of every step that `benchmarks.story` measures."""

from __future__ import annotations

import re

from benchmarks import plots, story

PAGE = story.PAGE.read_text(encoding="utf-8")


def test_every_step_has_a_snippet_and_its_plot() -> None:
    parts = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:-1]
    assert len(parts) == len(story.STEPS)
    for number, part in enumerate(parts, 1):
        assert part.startswith(f"{number}. ")
        assert "```python\n" in part
        assert "**It buys**" in part
        assert "**It costs**" in part
        description, name = re.search(r"!\[(.+)\]\(assets/story/(\w+)\.svg\)", part).groups()  # type: ignore[union-attr]
        assert name == f"step_{number}"
        assert len(description) > 60


def test_the_plots_show_the_steps_so_far() -> None:
    assert {path.stem for path in story.FOLDER.iterdir()} == {
        f"step_{number}" for number in range(1, len(story.STEPS) + 1)
    }
    for number in range(1, len(story.STEPS) + 1):
        plot = (story.FOLDER / f"step_{number}.svg").read_text(encoding="utf-8")
        shown = [name for name in story.STEPS if f">{name}</text>" in plot]
        assert shown == list(story.STEPS[:number])
        assert plots.INK in plot


def test_the_table_is_that_of_the_benchmark() -> None:
    figures = PAGE.partition(story.STARTS)[2].partition(story.ENDS)[0]
    assert re.findall(r"^\| ([\w, ]+) \| [\d,]+ us", figures, re.MULTILINE) == list(story.STEPS)
    head = story.table({"a": story.Times(2.0, 4.0, 1.0), "b": story.Times(3.0, 2.0, 1_500.0)})
    assert head.splitlines()[2:] == [
        "| a | 2 us | - | 4 us | - | 1 us |",
        "| b | 3 us | 1.5 | 2 us | 0.5 | 1,500 us |",
    ]
    assert figures.strip().startswith(head.splitlines()[0])
    assert f"{story.ROUNDS} rounds" in PAGE


def test_the_plots_show_the_figures_of_the_table() -> None:
    row = r"^\| [\w, ]+ \| ([\d,]+) us \| \S+ \| ([\d,]+) us \| \S+ \| ([\d,]+) us"
    rows = re.findall(row, PAGE, re.MULTILINE)
    assert len(rows) == len(story.STEPS)
    last = (story.FOLDER / f"step_{len(story.STEPS)}.svg").read_text(encoding="utf-8")
    for row in rows:
        assert all(f">{figure}</text>" in last for figure in row)
