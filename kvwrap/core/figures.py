"""Figures: what the parts of a stack count, declared once for all that show or export it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self

import msgspec

from kvwrap.errors import ConfigurationError


class Distribution(Protocol):
    """The value of a histogram: latencies, in seconds."""

    seconds: float

    @property
    def calls(self) -> int:
        """Number of latencies."""

    def percentile(self, share: float) -> float:
        """Return the latency that this share of the calls did not exceed."""

    def at_most(self, seconds: float) -> int:
        """Return the number of latencies up to this one."""

    def __add__(self, other: Self, /) -> Self: ...


class Figure(msgspec.Struct, frozen=True):
    """One thing that is counted or measured: the declaration, without a value.

    Attributes:
        name: Its name in lower case, with dots between the parts: `near.hits`. OpenTelemetry calls
            it `kvwrap.near.hits`, Prometheus `kvwrap_near_hits_total`.
        kind: "counter" if it only grows, "gauge" if it is as it is now, or "histogram".
        unit: The unit as UCUM writes it: "s", "By", "1", or what is counted, as in "{key}".
        text: What it is, in one sentence.
        labels: Names of the labels that it has besides `stack` and `layer`. What takes their
            values must be bounded; keys and values of users never are.
        path: The attribute that has the value; with dots, an attribute of an attribute. With one
            label more than its source has, that is a mapping from values of the label.
        merge: What is exported where several parts have the same labels: their "sum", or the "max".
        noted: True if the part's `notes` tell it, so that `summary` leaves it out.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    text: str
    labels: tuple[str, ...]
    path: str
    merge: Literal["sum", "max"]
    noted: bool = False

    @property
    def exported(self) -> str:
        """The name that Prometheus has for it: with unit, and `_total` for a counter."""
        unit = {"s": "_seconds", "By": "_bytes"}.get(self.unit, "")
        total = "_total" if self.kind == "counter" else ""
        return f"kvwrap_{self.name.replace('.', '_')}{unit}{total}"


def counter(
    name: str,
    unit: str,
    text: str,
    *labels: str,
    path: str = "",
    merge: Literal["sum", "max"] = "sum",
) -> Figure:
    """Declare a figure that only grows. `path` is the last part of the name if omitted."""
    return _figure(name, "counter", unit, text, labels, path, merge)


def gauge(
    name: str,
    unit: str,
    text: str,
    *labels: str,
    path: str = "",
    merge: Literal["sum", "max"] = "sum",
    noted: bool = False,
) -> Figure:
    """Declare a figure that is as it is now. `path` is the last part of the name if omitted."""
    return _figure(name, "gauge", unit, text, labels, path, merge, noted)


def histogram(name: str, text: str, *labels: str, path: str = "") -> Figure:
    """Declare a distribution of latencies. `path` is the last part of the name if omitted."""
    return _figure(name, "histogram", "s", text, labels, path, "sum")


def _figure(
    name: str,
    kind: Any,
    unit: str,
    text: str,
    labels: tuple[str, ...],
    path: str,
    merge: Any,
    noted: bool = False,
) -> Figure:
    return Figure(name, kind, unit, text, labels, path or name.rpartition(".")[2], merge, noted)


class Measured:
    """What has figures. The attributes that they name are read from any thread.

    Attributes:
        figures: The figures. A subclass adds its own: `(*Base.figures, counter(...))`.
    """

    __slots__ = ()
    figures: ClassVar[tuple[Figure, ...]] = ()

    @property
    def label_values(self) -> tuple[str, ...]:
        """The values of the first labels of all its figures."""
        return ()


class Sample(NamedTuple):
    """The value of a figure in one part of a stack.

    Attributes:
        figure: The figure.
        stack: The name of the stack.
        layer: The part: the name of its class, with the roles of second stores before it, as in
            `near/MemoryStore`, and a number behind it if it is not the first of its class there.
        labels: The values of the figure's labels.
        value: A number; for a histogram a `Distribution`.
    """

    figure: Figure
    stack: str
    layer: str
    labels: tuple[str, ...]
    value: Any


class Source(Protocol):
    """A part of a stack as `collect` sees it."""

    @property
    def name(self) -> str:
        """The name of the part."""

    @property
    def stack_name(self) -> str | None:
        """The name that the part gives the stack in figures, if it gives one."""

    @property
    def second_stores(self) -> Sequence[tuple[str, Any]]:
        """The second stores, each with its role."""

    def measured(self) -> Iterable[Measured]:
        """Return what has the figures of the part."""


class Stack(Protocol):
    """A store as `collect` sees it."""

    @property
    def parts(self) -> Sequence[Source]:
        """The layers, outermost first, and the backend as the last."""

    @property
    def usage(self) -> Iterable[Measured]:
        """Return what has the figures of the store object itself."""


def stack_name(store: Any) -> str:
    """Return the name of a store in figures: that of its outermost `Statistics`, or "kvwrap"."""
    return next((name for part in store.parts if (name := part.stack_name)), "kvwrap")


def collect(store: Any, stack: str | None = None) -> Iterator[Sample]:
    """Iterate over the values of all figures of a store, its layers and its second stores.

    May be called from any thread.

    Args:
        store: The store.
        stack: The name of the stack; that of its outermost `Statistics` if omitted.
    """
    stack = stack or stack_name(store)
    for source in store.usage:
        yield from _read(source, stack, "Store")
    yield from _collect(store, stack, "")


def _collect(store: Stack, stack: str, roles: str) -> Iterator[Sample]:
    seen: dict[str, int] = {}
    for part in store.parts:
        name = part.name
        count = seen[name] = seen.get(name, 0) + 1
        layer = f"{roles}{name}" + (f"#{count}" if count > 1 else "")
        for source in part.measured():
            yield from _read(source, part.stack_name or stack, layer)
        for role, second in part.second_stores:
            yield from _collect(second, stack, f"{roles}{role}/")


def _read(source: Measured, stack: str, layer: str) -> Iterator[Sample]:
    for figure in source.figures:
        value = attrgetter(figure.path)(source)
        labels = source.label_values
        if value is None:
            continue
        if isinstance(value, Mapping):
            for name, each in value.copy().items() if isinstance(value, dict) else value.items():
                yield Sample(figure, stack, layer, (*labels, str(name)), each)
        else:
            yield Sample(figure, stack, layer, labels, value)


def merged(samples: Iterable[Sample]) -> list[Sample]:
    """Return the samples with those of equal figures and labels as one, as `Figure.merge` says."""
    found: dict[tuple[Any, ...], Sample] = {}
    for sample in samples:
        key = sample[:-1]
        earlier = found.get(key)
        if earlier is not None:
            values = (earlier.value, sample.value)
            value = max(values) if sample.figure.merge == "max" else values[0] + values[1]
            found[key] = sample._replace(value=value)
        else:
            found[key] = sample
    return list(found.values())


def summary(sources: Iterable[Measured]) -> str:
    """Return what a part has counted as one line, without zeros; empty if it counted nothing.

    Counters are summed over their labels, latencies over all but the last.
    """
    counts: dict[Figure, float] = {}
    latencies: dict[str, Any] = {}
    states: list[str] = []
    for figure, _, _, labels, value in (each for one in sources for each in _read(one, "", "")):
        if figure.kind == "histogram":
            name = labels[-1] if labels else figure.name
            latencies[name] = latencies[name] + value if name in latencies else value
        elif figure.kind == "counter":
            counts[figure] = counts.get(figure, 0) + value
        elif value and not figure.noted:
            # A state is 1, and has its name in the label.
            amount = [] if labels and value == 1 else [_shown(figure, value)]
            states.append(" ".join((figure.name, *labels[-1:], *amount)))
    shown = [f"{figure.name} {_shown(figure, value)}" for figure, value in counts.items() if value]
    if not shown:
        return ""
    ends = [f"{name} p99 {each.percentile(0.99):.3g} s" for name, each in latencies.items()]
    return ", ".join(shown + states + ends)


def _shown(figure: Figure, value: Any) -> str:
    unit = {"s": " s", "By": " bytes"}.get(figure.unit, "")
    return f"{value:,.6g}{unit}" if isinstance(value, float) else f"{value:,}{unit}"


def declared() -> list[Figure]:
    """Return the figures of all classes that were imported, by name."""
    figures: dict[str, Figure] = {}
    classes: list[type[Measured]] = [Measured]
    while classes:
        cls = classes.pop()
        classes += cls.__subclasses__()
        for figure in cls.figures:
            if figures.setdefault(figure.name, figure) != figure:
                raise ConfigurationError(
                    f"a figure must be declared once; {figure.name!r} has two declarations, one of "
                    f"them in {cls.__module__}.{cls.__qualname__}: choose another name"
                )
    return [figures[name] for name in sorted(figures)]
