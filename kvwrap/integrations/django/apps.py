"""The application of Django."""

from __future__ import annotations

from django.apps import AppConfig


class KvwrapConfig(AppConfig):
    """Entries of kvwrap in the databases of a project."""

    name = "kvwrap.integrations.django"
    label = "kvwrap"
    verbose_name = "kvwrap"
    default_auto_field = "django.db.models.BigAutoField"
