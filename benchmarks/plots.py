"""The plots of docs/benchmarks.md: hit rates, and cost by size and by number of layers."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.memory import VALUE, getting, putting
from benchmarks.pipeline import document
from benchmarks.timing import Work, interleaved
from benchmarks.traces import ACCESSES, ENTRIES, traces
from kvwrap import Keyring, MemoryStore, PrefixKey, Stack, stack
from kvwrap.core.entry import Entry

FOLDER = Path(__file__).parent.parent / "docs" / "assets"
SIZES = (77, 1_000, 10_000, 100_000, 1_000_000)
RECORD = 140
"""Bytes of a record of `document`."""
LAYERS = (0, 1, 2, 4, 8, 12, 16, 20)
LIBCACHESIM = {"zipf": 0.734, "scan": 0.549, "drift": 0.696, "loop": 0.777}
"""Hit rates of S3-FIFO in libcachesim 0.3.5 on the same traces."""

INK = "#404040"
PAPER = "#ffffff"
"""The plots have a background of their own, so that they are readable on a dark page too."""
COLOURS = ("#2070c0", "#c06010", "#208050", "#9040a0")

Lines = Mapping[str, Sequence[float]]


async def hit_rates() -> Lines:
    """Return the hit rates of kvwrap, of S3-FIFO elsewhere and of LRU, for each trace."""
    entry = Entry(b"12345678", b"", 0.0, None, 1)
    ours, lru = [], []
    for trace in traces().values():
        store = MemoryStore(max_entries=ENTRIES)
        recent: OrderedDict[int, None] = OrderedDict()
        hits = lru_hits = 0
        for number in trace:
            key = (str(number),)
            if (await store.read(None, key))[0] is None:
                await store.write(None, key, (entry,))
            else:
                hits += 1
            lru_hits += number in recent
            recent[number] = None
            recent.move_to_end(number)
            if len(recent) > ENTRIES:
                recent.popitem(last=False)
        ours.append(hits / ACCESSES)
        lru.append(lru_hits / ACCESSES)
    return {
        "MemoryStore": ours,
        "S3-FIFO (libcachesim 0.3.5, measured once)": list(LIBCACHESIM.values()),
        "LRU": lru,
    }


async def cost_by_size() -> Lines:
    """Return the microseconds of a put and a get, bare and encoded, for values of each size."""
    encoded = stack().compress().encrypt(Keyring({"k1": os.urandom(32)}))
    lines: dict[str, list[float]] = {}
    for size in SIZES:
        value = VALUE if size == SIZES[0] else document(size // RECORD)
        works: dict[str, Work] = {}
        for name, layers in (("MemoryStore", Stack()), ("compress + encrypt", encoded)):
            store = layers.over(MemoryStore())
            await store.put("user:12345", value)
            works[f"{name}: put"] = putting(store, value)
            works[f"{name}: get"] = getting(store)
        count = max(3, min(300, 1_000_000 // size))
        for name, cost in (await interleaved(works, count)).items():
            lines.setdefault(name, []).append(cost)
    return lines


class Separate(PrefixKey):
    """A prefix that is not merged with its neighbours, as no layers of other kinds are."""

    is_fixed = False


async def cost_by_layers() -> Lines:
    """Return the microseconds of a put and a get under each number of prefixes."""
    works: dict[str, Work] = {}
    for number in LAYERS:
        layers = Stack()
        for _ in range(number):
            layers = layers.layer(Separate("v1-"))
        store = layers.over(MemoryStore())
        await store.put("user:12345", VALUE, ttl=300)
        works[f"put {number}"] = putting(store)
        works[f"get {number}"] = getting(store)
    costs = await interleaved(works, 2_000)
    return {name: [costs[f"{name} {number}"] for number in LAYERS] for name in ("put", "get")}


def draw(rates: Lines, by_size: Lines, by_layers: Lines, folder: Path = FOLDER) -> None:
    """Write the three plots as SVG files."""
    import matplotlib  # only `make bench` has it

    matplotlib.use("svg")
    from matplotlib import pyplot  # as above

    settings: dict[str, Any] = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    )
    settings |= {"svg.fonttype": "none", "svg.hashsalt": "kvwrap", "font.size": 11}
    settings |= {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    settings["axes.prop_cycle"] = matplotlib.cycler(color=COLOURS)
    with matplotlib.rc_context(settings):
        figure, axes = pyplot.subplots(figsize=(7, 3.6))
        for index, (name, values) in enumerate(rates.items()):
            places = [place + (index - 1) * 0.27 for place in range(len(values))]
            bars = axes.bar(places, values, 0.25, label=name)
            axes.bar_label(bars, fmt="%.2f", fontsize=8, color=INK)
        axes.set_xticks(range(len(LIBCACHESIM)), list(LIBCACHESIM))
        axes.set_ylabel("hit rate")
        axes.set_ylim(0, 1)
        axes.legend(loc="upper center", ncols=3, fontsize=9)
        save(figure, folder / "hit_rates.svg")

        figure, axes = pyplot.subplots(figsize=(7, 3.6))
        for name, values in by_size.items():
            axes.loglog(SIZES, values, "o-" if name.endswith("put") else "s--", label=name)
        axes.set_xlabel("bytes of the value as JSON")
        axes.set_ylabel("CPU time, µs")
        axes.legend()
        save(figure, folder / "cost_by_size.svg")

        figure, axes = pyplot.subplots(figsize=(7, 3.6))
        for name, values in by_layers.items():
            axes.plot(LAYERS, values, "o-" if name == "put" else "s--", label=name)
        axes.set_xlabel("layers (prefixes) over a MemoryStore")
        axes.set_ylabel("CPU time, µs")
        axes.set_ylim(bottom=0)
        axes.set_xticks(LAYERS)
        axes.legend()
        save(figure, folder / "cost_by_layers.svg")


def save(figure: Any, path: Path) -> None:
    """Write a figure without the date, so that the same figures give the same file."""
    path.parent.mkdir(exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, facecolor=PAPER, metadata={"Date": None})
