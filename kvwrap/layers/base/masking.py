"""Base class of layers that know an entry to be dead while the parts inside hold it as alive."""

from __future__ import annotations

from kvwrap.core.layer import Layer
from kvwrap.core.masking import Mask


class Masking(Mask, Layer):
    """A layer that implements only `is_masked`: which entries users must not find any more.

    A masked entry is alive inside and dead to users. Reads do not return it, listings leave
    its key out, `put_if_absent` replaces it, `delete` and `expire` report that there was no
    entry, and `cull` removes it.

    The parts inside know nothing of this, so some calls read entries to find masked ones: a
    listing reads the entries of each page, `remove` and `touch` read theirs first, and a
    write that must find no entry reads if it is refused. A layer that also changes entries,
    such as a `Transform`, overrides `bind` to put a masking layer between itself and `inner`:
    `return super().bind(MyMasking().bind(inner))`.

    An entry that cannot be read is not masked, so that damage is not taken for an absence.

    Attributes:
        masks_regularly: Whether entries are masked in normal operation, and not only after
            somebody tampered with the backend. If False, a call is not made slower only for a
            masked entry whose version the caller knows or for a collection of nothing else: a
            conditional write or removal with the version of a masked entry succeeds, and
            collections that hold masked entries only are listed and reported as dropped.
    """
