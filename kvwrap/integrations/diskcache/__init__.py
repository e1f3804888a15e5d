"""Folders of diskcache, read without its package, and without ever unpickling.

>>> from kvwrap.integrations.diskcache import DiskcacheFolder
>>> DiskcacheFolder("cache")
DiskcacheFolder('cache')
"""

from kvwrap.integrations.diskcache.store import DiskcacheFolder

__all__ = ["DiskcacheFolder"]
