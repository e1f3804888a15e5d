"""What `RedisStore` needs of Redis: names of keys, scripts, the meaning of errors."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Any, Final

from kvwrap.core.optional import need
from kvwrap.core.primitives import Collection
from kvwrap.errors import (
    ConfigurationError,
    KvwrapError,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.stores._names import escaped, unescaped


def driver(module: str) -> Any:
    """A module of the driver's package, imported now."""
    return need(module, extra="redis", wanted_by="RedisStore")


# -- names -------------------------------------------------------------------------------


class Names:
    """Keys of Redis as `namespace:collection:key`.

    `%` and `:` in the first two are escaped, so that neither two collections nor two
    namespaces ever share a key, and a name can be read back.
    """

    def __init__(self, namespace: str) -> None:
        self.start = escaped(namespace) + ":"

    def prefix(self, collection: Collection) -> str:
        """What the names of a collection begin with."""
        return f"{self.start}{'' if collection is None else escaped(collection)}:"

    @staticmethod
    def collection(rest: str) -> Collection:
        """The collection that a name belongs to, whose part after `start` is given."""
        return unescaped(rest.partition(":")[0]) or None


class RawNames(Names):
    """Keys of Redis as another program has them: `key`, or `collection:key`."""

    def __init__(self) -> None:
        self.start = ""

    def prefix(self, collection: Collection) -> str:
        return "" if collection is None else f"{collection}:"


def pattern(prefix: str) -> bytes:
    """The pattern that matches what begins with the prefix, whatever characters are in it."""
    return re.sub(r"([*?\[\\])", r"\\\1", prefix).encode() + b"*"


# -- scripts -----------------------------------------------------------------------------


class Script:
    """A script of Lua with the name that the server knows it by."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


# Header and versions are those of `kvwrap.core.entry`. Foreign values, which have no header,
# have the beginning of their SHA-1 for a version, as `foreign` has it.
_VERSION = r"""
local function version_of(held, now)
  if not held then return false end
  if string.sub(held, 1, 2) ~= '\171k' or #held < 24 then
    local digest = string.sub(redis.sha1hex(held), 1, 16)
    return (string.gsub(digest, '%x%x', function(d) return string.char(tonumber(d, 16)) end))
  end
  local ends = 0
  for i = 10, 15 do ends = ends * 256 + string.byte(held, i) end
  if ends > 0 and ends <= tonumber(now) then return false end
  return string.sub(held, 16, 23)
end
"""

WRITE: Final = Script(
    _VERSION
    + r"""
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then return 0 end -- no string: neither absent nor of any version
local there = version_of(held, ARGV[2])
if ARGV[1] ~= 'any' and there ~= (ARGV[1] ~= 'none' and ARGV[1]) then
  -- A driver that lost the answer asks again: what it wants written is there already.
  local has_header = string.sub(ARGV[4], 1, 2) == '\171k'
  return has_header and there == string.sub(ARGV[4], 16, 23) and 1 or 0
end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[4])
elseif tonumber(ARGV[3]) > 0 then redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[3])
else redis.call('DEL', KEYS[1]) end
return 1
"""
)
"""A conditional write: key; version, 'none' or 'any', now, milliseconds to live or '', value."""

REMOVE: Final = Script(
    _VERSION
    + r"""
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then return 0 end
local there = version_of(held, ARGV[2])
if there and ARGV[1] ~= 'any' and there ~= ARGV[1] then return 0 end
if held then redis.call('UNLINK', KEYS[1]) end
return there and 1 or 0
"""
)
"""A removal that tells whether it took a live entry: key; version or 'any', now."""

PAGE: Final = Script(
    r"""
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local now, live = tonumber(ARGV[4]), {}
for _, name in ipairs(page[2]) do
  local head = redis.pcall('GETRANGE', name, 0, 23)
  if type(head) == 'string' then
    local ends = 0
    if string.sub(head, 1, 2) == '\171k' and #head == 24 then
      for i = 10, 15 do ends = ends * 256 + string.byte(head, i) end
    end
    if ends == 0 or ends > now then live[#live + 1] = name end
    if ARGV[5] == 'drop' then redis.call('UNLINK', name) end
  end
end
return {page[1], ARGV[5] == 'drop' and #live or live}
"""
)
"""One step of SCAN: cursor, pattern, count, now, and 'list' for live keys or 'drop' to
unlink all and count the live ones. Values that are not strings are passed over."""


# -- errors ------------------------------------------------------------------------------


def failure(error: Exception, **where: Any) -> KvwrapError:
    """What to raise for an error of the driver.

    Its text stays with the cause: some of the driver's errors quote the command that
    failed, values included.
    """
    known = driver("redis.exceptions")
    kind = type(error).__name__
    if isinstance(error, known.TimeoutError | asyncio.TimeoutError):
        return StoreTimeout("Redis did not answer in time", **where)
    if isinstance(error, known.OutOfMemoryError) or str(error).startswith("OOM "):
        return StoreFull("Redis has reached its maxmemory and evicts nothing", **where)
    if isinstance(
        error, known.AuthenticationError | known.AuthorizationError | known.NoPermissionError
    ) or str(error).startswith(("NOAUTH", "WRONGPASS", "NOPERM")):
        return StoreUnavailable(f"Redis refuses this user or password ({kind})", **where)
    if "invalid bulk length" in str(error) or "maximum allowed size" in str(error):
        return ValueTooLarge("the value is over the server's proto-max-bulk-len", **where)
    if isinstance(error, known.ConnectionError | OSError):
        return StoreUnavailable(f"Redis cannot be reached ({kind})", **where)
    return StoreUnavailable(f"Redis refused the command ({kind})", **where)


# -- connections -------------------------------------------------------------------------


def pool(url: str | None, **given: Any) -> Any:
    """A pool of connections, none of them made yet.

    Raises:
        ConfigurationError: The URL is none of Redis's, or has options that there are not.
    """
    connections = driver("redis.asyncio.connection")
    settings = {
        # RESP2, since under RESP3 the driver leaves out its check that a connection handed
        # out again has no unread answer on it.
        "protocol": 2,
        # The store's own timeout is on the whole call, and whether to try again is for
        # the Retry layer: a retried write may be applied twice.
        "retry": driver("redis.asyncio.retry").Retry(driver("redis.backoff").NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": None,
        # The store hands out turns; a limit here would raise instead of wait.
        "max_connections": 2**31,
        **{name: value for name, value in given.items() if value is not None},
    }
    try:
        if url is not None:
            settings.update(connections.parse_url(url))
        made = connections.ConnectionPool(**settings)
        made.make_connection()  # finds unknown options; connects to nothing
    except (TypeError, ValueError, AttributeError):
        # Neither the URL nor the driver's text is shown: they may hold the password.
        raise ConfigurationError(
            "this is not a URL of Redis, or its options are not the driver's: "
            "redis://user:password@host:6379/0, rediss://… for TLS, unix:///path?db=0"
        ) from None
    return made


def checked_client(client: Any) -> Any:
    """The client; raises `ConfigurationError` for one that the store cannot use."""
    known = driver("redis.asyncio")
    if not isinstance(client, known.Redis):
        raise ConfigurationError(
            f"client is a redis.asyncio.Redis, not {type(client).__module__}."
            f"{type(client).__qualname__}"
        )
    if client.connection_pool.connection_kwargs.get("decode_responses"):
        raise ConfigurationError(
            "this client has decode_responses=True, and entries are bytes: make one without"
        )
    return client
