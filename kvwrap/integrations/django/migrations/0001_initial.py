"""Create the table of entries."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """The first migration."""

    initial = True
    dependencies: ClassVar[list[tuple[str, str]]] = []
    operations: ClassVar = [
        migrations.CreateModel(
            name="Entry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("collection", models.BinaryField(max_length=1280, verbose_name="collection")),
                ("key", models.BinaryField(max_length=1280, verbose_name="key")),
                ("version", models.BigIntegerField(verbose_name="version")),
                (
                    "expires_at",
                    models.BigIntegerField(blank=True, null=True, verbose_name="expires at"),
                ),
                ("entry", models.BinaryField(verbose_name="entry")),
            ],
            options={
                "verbose_name": "entry",
                "verbose_name_plural": "entries",
                "abstract": False,
                "indexes": [models.Index(fields=["expires_at"], name="kvwrap_entry_expiry")],
                "constraints": [
                    models.UniqueConstraint(fields=("collection", "key"), name="kvwrap_entry_names")
                ],
            },
        ),
    ]
