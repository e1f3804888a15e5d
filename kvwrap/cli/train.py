"""`kvwrap train-dictionary`: a compression dictionary for a collection."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from kvwrap.cli.codes import DONE
from kvwrap.cli.options import CollectionOption, JSONOption, PythonOption, StoreArgument
from kvwrap.cli.output import echo_json, tell
from kvwrap.cli.stores import load
from kvwrap.layers.compression import Compression


async def train_dictionary(
    store: StoreArgument,
    /,
    *,
    collection: CollectionOption = None,
    size: Annotated[int, Parameter(help="Maximum size of the dictionary in bytes.")] = 16 * 1024,
    json: JSONOption = False,
    python: PythonOption = False,
) -> int:
    """Train a compression dictionary on a collection.

    New entries use it. The stack needs a layer compress with dictionaries = true; the collection is
    named as that layer sees it. Old entries stay as they are until rewrite.
    """
    async with load(store, python=python) as opened:
        info = await opened.find(Compression).train(collection, size=size)
    if json:
        echo_json(info)
    else:
        tell(
            f"dictionary {info.id}: {info.size:,} bytes, trained on {info.samples:,} values, which "
            f"it makes {1 - info.ratio:.0%} smaller than they are without it"
        )
    return DONE
