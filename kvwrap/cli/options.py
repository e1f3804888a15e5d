"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    Place = str
else:
    # Always a str; shells complete the names of files because it might be a path.
    Place = str | Path

StoreArgument = Annotated[
    Place,
    Parameter(
        name="STORE",
        help="The store: a URL such as redis://localhost/0, or a TOML file that describes a "
        "stack, with #NAME if it has several.",
    ),
]
KeyArgument = Annotated[str, Parameter(name="KEY", help="The key.", allow_leading_hyphen=False)]
CollectionOption = Annotated[
    str | None,
    Parameter(name=["--collection", "-c"], help="The collection; default: the default one."),
]
CollectionsOption = Annotated[
    list[str] | None,
    Parameter(
        name=["--collection", "-c"],
        help="A collection to include, '' for the default one; can be repeated; default: all.",
    ),
]
PrefixOption = Annotated[str, Parameter(help="Only keys that begin with this.")]
TTLOption = Annotated[
    str | None,
    Parameter(help="Time to live: seconds, or a number with s, m, h or d, such as 15m."),
]
FormatOption = Annotated[
    Literal["json", "text", "bytes"],
    Parameter(name="--format", help="What the value is: JSON, a text, or bytes as they are."),
]
JSONOption = Annotated[bool, Parameter(name="--json", help="Print JSON, for programs.")]
PythonOption = Annotated[
    bool,
    Parameter(
        help="Follow references to Python code in the TOML file, which runs that code.",
    ),
]
YesOption = Annotated[
    bool, Parameter(name=["--yes", "-y"], help="Do not ask before something is destroyed.")
]
QuietOption = Annotated[bool, Parameter(name=["--quiet", "-q"], help="Show no progress.")]
BatchOption = Annotated[int, Parameter(help="Number of keys in one round trip.")]
StateOption = Annotated[
    str | None,
    Parameter(help="A file for the state: after a stop, the same command continues from it."),
]
ExistingOption = Annotated[
    Literal["keep", "replace"],
    Parameter(help="What to do where the target has the key: keep its value, or replace it."),
]
