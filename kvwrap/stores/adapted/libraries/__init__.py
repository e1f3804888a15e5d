"""The libraries whose objects are adapted, one file each."""

from __future__ import annotations

from typing import Final

from kvwrap.stores.adapted.adapter import Adapter
from kvwrap.stores.adapted.libraries.aiocache import AiocacheAdapter
from kvwrap.stores.adapted.libraries.cachelib import CachelibAdapter
from kvwrap.stores.adapted.libraries.cashews import CashewsAdapter
from kvwrap.stores.adapted.libraries.diskcache import DiskcacheAdapter
from kvwrap.stores.adapted.libraries.django import DjangoAdapter
from kvwrap.stores.adapted.libraries.great_expectations import GreatExpectationsAdapter
from kvwrap.stores.adapted.libraries.keyvalue_sqlite import KeyValueSqliteAdapter
from kvwrap.stores.adapted.libraries.langgraph import LangGraphAdapter
from kvwrap.stores.adapted.libraries.obstore import ObstoreAdapter
from kvwrap.stores.adapted.libraries.steamship import SteamshipAdapter
from kvwrap.stores.adapted.libraries.zarr import ZarrAdapter
from kvwrap.stores.adapted.libraries.zict import ZictAdapter

LIBRARIES: Final[tuple[type[Adapter], ...]] = (
    AiocacheAdapter,
    CachelibAdapter,
    CashewsAdapter,
    DiskcacheAdapter,
    DjangoAdapter,
    GreatExpectationsAdapter,
    KeyValueSqliteAdapter,
    LangGraphAdapter,
    ObstoreAdapter,
    SteamshipAdapter,
    ZarrAdapter,
    ZictAdapter,
)
