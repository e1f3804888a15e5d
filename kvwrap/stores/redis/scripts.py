"""Lua scripts, which Redis runs atomically: conditional writes, removals, pages of keys."""

from __future__ import annotations

import hashlib
import math
from typing import Final

from kvwrap.core.primitives import ABSENT, Expected


class Script:
    """A Lua script, with the SHA-1 that the server knows it by."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


# Header and version are those of `kvwrap.core.entry`. The version of a foreign value, which has no
# header, is the beginning of the SHA-1 of salt and value, as in `foreign`. A value that is not a
# string is another program's, and is neither replaced nor removed.
_VERSION = r"""
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'string' and kind ~= 'none' then return redis.error_reply('WRONGTYPE ' .. kind) end
local function version_of(value, now, salt)
  if not value then return false end
  if string.sub(value, 1, 2) ~= '\171k' or #value < 24 then
    local digest = string.sub(redis.sha1hex(salt .. value), 1, 16)
    return (string.gsub(digest, '%x%x', function(d) return string.char(tonumber(d, 16)) end))
  end
  local expiry = 0
  for i = 10, 15 do expiry = expiry * 256 + string.byte(value, i) end
  if expiry > 0 and expiry <= tonumber(now) then return false end
  return string.sub(value, 16, 23)
end
"""

WRITE: Final = Script(
    _VERSION
    + r"""
if ARGV[1] ~= 'any' then
  local version = version_of(redis.call('GET', KEYS[1]), ARGV[2], ARGV[5])
  if version ~= (ARGV[1] ~= 'none' and ARGV[1]) then
    -- A call whose answer was lost is repeated: its entry is stored already.
    local has_header = string.sub(ARGV[4], 1, 2) == '\171k'
    return has_header and version == string.sub(ARGV[4], 16, 23) and 1 or 0
  end
end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[4])
elseif ARGV[3] ~= '0' then redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[3])
else redis.call('DEL', KEYS[1]) end
return 1
"""
)
"""A conditional write.

Key; version, 'none' or 'any'; now; milliseconds to live or ''; value; salt of a foreign version.
"""

REMOVE: Final = Script(
    _VERSION
    + r"""
local value = redis.call('GET', KEYS[1])
local version = version_of(value, ARGV[2], ARGV[3])
if version and ARGV[1] ~= 'any' and version ~= ARGV[1] then return 0 end
if value then redis.call('UNLINK', KEYS[1]) end
return version and 1 or 0
"""
)
"""A removal, which returns 1 if it removed a live entry. Key; version or 'any'; now; salt."""

INCREMENT: Final = Script(r"""
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then
  if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2])
  else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
  return ARGV[2]
end
if kind ~= 'string' then return redis.error_reply('WRONGTYPE ' .. kind) end
if type(redis.pcall('INCRBY', KEYS[1], ARGV[1])) ~= 'number' then return false end
return redis.call('GET', KEYS[1])
""")
"""An addition to another program's counter.

Key; what to add; the sum if there is no counter; milliseconds that a new one lives, or ''. Returns
the sum as text, since numbers of Lua are not exact from 2^53 on, or nothing if the value is not an
integer of 64 bits.
"""

_IS_LIVE = r"""
local function is_live(head, now)
  if string.sub(head, 1, 2) ~= '\171k' or #head < 24 then return true end
  local expiry = 0
  for i = 10, 15 do expiry = expiry * 256 + string.byte(head, i) end
  return expiry == 0 or expiry > now
end
"""

PAGE: Final = Script(
    _IS_LIVE
    + r"""
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local now, live = tonumber(ARGV[4]), {}
for _, name in ipairs(page[2]) do
  local head = redis.pcall('GETRANGE', name, 0, 23)
  if type(head) == 'string' then
    if is_live(head, now) then live[#live + 1] = name end
    if ARGV[5] == 'drop' then redis.call('UNLINK', name) end
  end
end
return {page[1], ARGV[5] == 'drop' and #live or live}
"""
)
"""One step of SCAN. Cursor; pattern; count; now; 'list' or 'drop'.

Returns the next cursor and, for 'list', the live keys. For 'drop' it unlinks all keys and returns
how many were live. Values that are not strings are skipped.
"""

# The bytes of UTF-8 have the order of its code points. `<` would follow the server's locale.
RANGE: Final = Script(
    _IS_LIVE
    + r"""
local function is_text(key)
  for _, sequence in ipairs({
    '[\241-\243][\128-\191][\128-\191][\128-\191]', '\240[\144-\191][\128-\191][\128-\191]',
    '\244[\128-\143][\128-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]',
    '\224[\160-\191][\128-\191]', '\237[\128-\159][\128-\191]', '[\194-\223][\128-\191]'
  }) do
    if not string.find(key, '[\128-\255]') then return true end
    key = string.gsub(key, sequence, '.')
  end
  return not string.find(key, '[\128-\255]')
end
local function is_below(key, bound)
  for i = 1, #bound do
    local left, right = string.byte(key, i), string.byte(bound, i)
    if left ~= right then return left == nil or left < right end
  end
  return false
end
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local now, start, stop, live = tonumber(ARGV[4]), ARGV[7], ARGV[8], 0
for _, name in ipairs(page[2]) do
  local key = string.sub(name, ARGV[6] + 1)
  if key ~= '' and string.sub(key, 1, 7) ~= 'kvwrap.' and is_text(key)
    and not is_below(key, start) and (stop == '' or is_below(key, stop)) then
    local head = redis.pcall('GETRANGE', name, 0, 23)
    if type(head) == 'string' then
      if is_live(head, now) then live = live + 1 end
      if ARGV[5] == 'drop' then redis.call('UNLINK', name) end
    end
  end
end
return {page[1], live}
"""
)
"""One step of SCAN through a range of keys, which are not sent.

Cursor; pattern; count; now; 'count' or 'drop'; bytes before the key in a name; the least key; what
is above the last key, or ''. Returns the next cursor and how many keys were live. For 'drop' it
unlinks them, and expired ones. Names that are no key's, and values that are not strings, are
skipped.
"""


def lifetime_argument(expires_at: float | None, now: float) -> str:
    """Return how long an entry lives, as the argument of a script or of PX.

    That is in milliseconds, at least "1"; "0" if it has expired, and "" if it never does.
    """
    if expires_at is None:
        return ""
    return str(max(1, math.ceil((expires_at - now) * 1000))) if expires_at > now else "0"


def version_argument(expected: Expected) -> bytes:
    """Return what a conditional write or removal expects, as the argument of a script."""
    if expected is None:
        return b"any"
    if expected is ABSENT:
        return b"none"
    return expected.to_bytes(8, "big") if 0 <= expected < 1 << 64 else b"no version"
