"""The table of entries as a model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

from django.db import models

from kvwrap.integrations.django.names import decode_collection


class AbstractEntry(models.Model):
    """Base of a model that keeps entries: derive another one from it for a table of its own.

    Names are bytes of UTF-8, since text cannot contain NUL in every database, and is ordered by
    the database's collation.
    """

    collection = models.BinaryField("collection", max_length=1280)
    key = models.BinaryField("key", max_length=1280)
    version = models.BigIntegerField("version")
    expires_at = models.BigIntegerField("expires at", null=True, blank=True)
    entry = models.BinaryField("entry")

    class Meta:
        abstract = True
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["collection", "key"], name="%(app_label)s_%(class)s_names"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["expires_at"], name="%(app_label)s_%(class)s_expiry")
        ]

    def __str__(self) -> str:
        return f"{self.collection_name or '(default)'}: {self.key_name}"

    @property
    def collection_name(self) -> str | None:
        """The name of the collection; None for the default one."""
        return decode_collection(self.collection)

    @property
    def key_name(self) -> str:
        """The key."""
        return bytes(self.key).decode(errors="replace")

    @property
    def expiry(self) -> datetime | None:
        """The time at which the entry expires; None if it does not."""
        return (
            None if self.expires_at is None else datetime.fromtimestamp(self.expires_at / 1000, UTC)
        )


class Entry(AbstractEntry):
    """An entry of kvwrap, with the name under which it is stored."""

    class Meta(AbstractEntry.Meta):
        verbose_name = "entry"
        verbose_name_plural = "entries"
