"""The entries in the admin: to look at, to search and to delete."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin

from kvwrap.integrations.django.models import Entry


@admin.register(Entry)
class EntryAdmin(admin.ModelAdmin):
    """Shows names, expiry and size; values are for the stack that wrote them, and are not shown."""

    list_display: ClassVar = ["key_name", "collection_name", "expiry", "size"]
    fields: ClassVar = ["key_name", "collection_name", "expiry", "size"]
    readonly_fields = fields
    ordering: ClassVar = ["collection", "key"]
    search_fields: ClassVar = ["key"]
    search_help_text = "the beginning of a key"
    show_full_result_count = False

    @admin.display(description="bytes")
    def size(self, entry: Entry) -> int:
        """Return the size of an entry."""
        return len(entry.entry)

    def get_search_results(self, request: Any, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Find the keys that begin with the text."""
        first = search_term.encode()
        return queryset.filter(key__gte=first, key__lt=first + b"\xff"), False

    def has_add_permission(self, request: Any) -> bool:
        """Return False: stacks write entries."""
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        """Return False: stacks change entries."""
        return False
