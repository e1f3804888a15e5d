"""`manage.py keyval`: read and change the entries of a name."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from kvwrap.errors import KvwrapError
from kvwrap.integrations.django.keyval import KeyVal, shared_store


class Command(BaseCommand):
    """The command."""

    help = "Get, set, delete, list or flush the entries of a name, in the store of KVWRAP_KEYVAL."

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments of the command."""
        commands = ("get", "set", "delete", "del", "list", "flush")
        parser.add_argument("-c", "--command", required=True, choices=commands)
        parser.add_argument("-n", "--name", "--store_name", required=True, help="name of the store")
        parser.add_argument("-k", "--key", help="the key")
        parser.add_argument("-V", "--value", help="the value, stored as text")
        parser.add_argument("--json", action="store_true", help="the value is JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command."""
        try:
            self._run(options["command"], KeyVal(options["name"], shared_store()), options)
        except KvwrapError as error:
            raise CommandError(str(error)) from error

    def _run(self, command: str, values: KeyVal, options: dict[str, Any]) -> None:
        key, text = options["key"], options["value"]
        if command == "list":
            for each in sorted(shared_store().scan(collection=options["name"])):
                self.stdout.write(each)
            return
        if command == "flush":
            values.flush()
            return
        if key is None or (command == "set" and text is None):
            raise CommandError(f"{command} needs --key" + (" and --value" * (command == "set")))
        if command == "set":
            try:
                value = json.loads(text) if options["json"] else text
            except ValueError as error:
                raise CommandError("--value must be JSON with --json") from error
            self.stdout.write("new" if values.set(key, value) else "replaced")
        elif command == "get":
            self.stdout.write(json.dumps(values.get(key), ensure_ascii=False))
        else:
            values.delete(key)
            self.stdout.write("deleted")
