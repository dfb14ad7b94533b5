"""What strategies and sources take as parameters."""

import msgspec


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every `Params`; by itself: takes none.

    Every field has a type, most a default. ``__post_init__`` raises ValueError for what is out of range.
    """
