"""Stands for django-keyval, whose package needs Python 2, with its documented methods and table."""

from __future__ import annotations

import pickle
from typing import Any

from django.db import connections

TABLE = "django_keyval__kvstore"


def make_table(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        number = "integer" if connections[alias].vendor == "sqlite" else "serial"
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {TABLE} (id {number} PRIMARY KEY, name varchar(255), "
            "key varchar(255), value text, UNIQUE (name, key))"
        )


class KeyVal:
    alias = "default"

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def connect(cls, name: str) -> KeyVal:
        return cls(name)

    def disconnect(self) -> None:
        del self.name

    def _run(self, statement: str, *values: object) -> list[Any]:
        with connections[self.alias].cursor() as cursor:
            cursor.execute(statement.replace("TABLE", TABLE), values)
            return list(cursor.fetchall()) if cursor.description else []

    def _name(self) -> str:
        try:
            return self.name
        except AttributeError:
            raise NameError("Name is not set") from None

    def set(self, key: str, value: Any) -> bool:
        is_new = not self.exists(key)
        self.delete(key, ignore_keyerror=True)
        text = pickle.dumps(value, 0).decode("latin-1")  # the protocol of Python 2
        self._run("INSERT INTO TABLE (name, key, value) VALUES (%s, %s, %s)", self.name, key, text)
        return is_new

    def get(self, key: str) -> Any:
        found = self._run("SELECT value FROM TABLE WHERE name=%s AND key=%s", self._name(), key)
        if not found:
            raise KeyError(key)
        return pickle.loads(found[0][0].encode("latin-1"))

    def exists(self, key: str) -> bool:
        found = self._run("SELECT 1 FROM TABLE WHERE name=%s AND key=%s", self._name(), key)
        return bool(found)

    def get_default(self, key: str, default_value: Any) -> Any:
        return self.get(key) if self.exists(key) else default_value

    def pop(self, key: str) -> Any:
        value = self.get(key)
        self.delete(key)
        return value

    def pop_default(self, key: str, default_value: Any) -> Any:
        return self.pop(key) if self.exists(key) else default_value

    def delete(self, key: str, ignore_keyerror: bool = False) -> bool:
        existed = self.exists(key)
        if not existed and not ignore_keyerror:
            raise KeyError(key)
        self._run("DELETE FROM TABLE WHERE name=%s AND key=%s", self.name, key)
        return existed

    def flush(self) -> None:
        self._run("DELETE FROM TABLE WHERE name=%s", self._name())

    def flush_all(self) -> None:
        self._run("DELETE FROM TABLE")
