"""Parameters of strategies and sources."""

import msgspec


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every `Params`; by itself it has no parameters.

    Every field has a type, most have a default. ``__post_init__`` raises ValueError for values out of range.
    """
