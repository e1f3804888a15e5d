"""Runs Django's own tests of caches over a stack, in a process of its own.

`python -m tests.integrations.django.djangos_tests FOLDER LOCATION`, with the folder of the tests of
Django's source archive. Left out are those that count culled entries. Over the ORM, those are left
out too that use the cache where an event loop runs, which Django refuses for its own cache in a
database, and those in which a cache must not query the database.
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

import django
from django.conf import settings
from django.test.runner import DiscoverRunner

from kvwrap import Keyring, SQLiteStore, Store, stack
from kvwrap.integrations.django import DjangoStore

FOLDER = Path(tempfile.mkdtemp(prefix="kvwrap-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
CULLING = ("test_cull", "test_zero_cull", "test_cull_delete_when_store_empty")


def layered(store: Store) -> Store:
    return stack().compress(min_size=0).encrypt(Keyring.generate()).over(store)


def sqlite() -> Store:
    return layered(SQLiteStore(FOLDER / "cache.db"))


def orm() -> Store:
    return layered(DjangoStore())


def main(folder: str, location: str) -> int:
    sys.path.insert(0, folder)
    backend = {
        "BACKEND": "kvwrap.integrations.django.cache.StoreCache",
        "LOCATION": f"{__spec__.name}.{location}",
        "OPTIONS": {"serializer": "pickle"},
    }
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "default.db"}
    settings.configure(
        SECRET_KEY="tests",
        USE_TZ=False,
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "cache",
            "sessions_tests",
            "kvwrap.integrations.django",
        ],
        DATABASES={"default": database},
        CACHES={"default": backend},
    )
    django.setup()
    from cache import tests as cache_tests
    from django.core.cache import cache
    from django.test import TransactionTestCase, override_settings
    from sessions_tests import tests as session_tests

    @override_settings(CACHES=cache_tests.caches_setting_for_tests(**backend))
    class StoreCacheTests(cache_tests.BaseCacheTests, TransactionTestCase):
        available_apps = ("cache", "kvwrap.integrations.django")

    for name in CULLING:
        setattr(StoreCacheTests, name, None)
    classes = [StoreCacheTests, session_tests.CacheSessionTests]
    if "orm" in location:
        session_tests.CacheSessionTests.test_create_and_save_async = None
    else:
        classes.append(session_tests.CacheDBSessionTests)
    for each in classes[1:]:
        each.databases = {"default"}

    class Runner(DiscoverRunner):
        def build_suite(self, *args: object, **options: object) -> unittest.TestSuite:
            load = unittest.defaultTestLoader.loadTestsFromTestCase
            return unittest.TestSuite(map(load, classes))

    failed = Runner(verbosity=1, interactive=False).run_tests([])
    cache.clear()
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
