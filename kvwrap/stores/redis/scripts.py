"""What Redis does at one go, in Lua: conditional writes, removals, pages of keys."""

from __future__ import annotations

import hashlib
import math
from typing import Final

from kvwrap.core.primitives import ABSENT, Expected


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


def life_of(expires_at: float | None, now: float) -> str:
    """Milliseconds to live, at least 1; "0" if it has expired, and nothing if it never does."""
    if expires_at is None:
        return ""
    return str(max(1, math.ceil((expires_at - now) * 1000))) if expires_at > now else "0"


def wanted_version(expected: Expected) -> bytes:
    """What must be there, as the scripts take it."""
    if expected is None:
        return b"any"
    if expected is ABSENT:
        return b"none"
    return expected.to_bytes(8, "big") if 0 <= expected < 1 << 64 else b"no version"
