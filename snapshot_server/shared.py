"""Collections whose copies share what is the same: a mapping, and an ascending sequence.

An edition differs from the previous one in a few thousand of 130,000 markets. Copying a `dict` or `list` of
all of them is one call into C that visits every object, and so is freeing it: 5 to 10 ms each in which no
other thread of the interpreter runs, not even the one that answers. Here both are many small steps.

By convention, what was copied is never changed again: one thread changes the copy until readers have it.
"""

from bisect import bisect_left
from collections.abc import (
    Callable,
    Collection,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
    ValuesView,
)
from itertools import accumulate, chain
from typing import Any, Final, Protocol, Self, TypeVar, overload

SHARD: Final = 32
"""Approximate number of entries in a shard."""

BLOCK: Final = 256
"""Elements in a block: between half and twice as many."""

PAUSE: Final = 64
"""Shards between two pauses: some tenths of a millisecond if all of them are to be freed."""

V = TypeVar("V")
D = TypeVar("D")
Pause = Callable[[], None]


class SharedDict(MutableMapping[str, V]):
    """A dict in shards, each copied when it is first changed. The order of its keys means nothing.

    Args:
        size: roughly how many entries it will have.
    """

    __slots__ = ("_count", "_mask", "_own", "_shards")

    def __init__(self, size: int = 0, shards: list[dict[str, V]] | None = None, count: int = 0) -> None:
        self._count = count
        own = shards is None
        if shards is None:
            shards = [{} for _ in range(1 << max(0, size // SHARD).bit_length())]
        self._shards = shards
        self._mask = len(shards) - 1
        self._own = bytearray((own,)) * len(shards)

    @classmethod
    def of(cls, entries: Mapping[str, V], pause: Pause) -> Self:
        """Return the same entries."""
        made = cls(len(entries))
        made.fill(entries, pause)
        return made

    def copy(self, pause: Pause, size: int = 0) -> "SharedDict[V]":
        """Return a copy that may be changed, and may grow to `size`; this one must no longer be changed."""
        size = max(size, self._count)
        if size > 4 * SHARD * len(self._shards):
            made = SharedDict[V](size)
            made.fill(self, pause)
            return made
        return SharedDict(0, self._shards.copy(), self._count)

    def fill(self, entries: Mapping[str, V], pause: Pause) -> None:
        """Put many entries in."""
        for index, (key, value) in enumerate(entries.items()):
            if index % (SHARD * PAUSE) == SHARD * PAUSE - 1:
                pause()
            self[key] = value

    def release(self, pause: Pause) -> None:
        """Release everything, once nobody else reads it."""
        shards, self._shards, self._mask, self._count = self._shards, [{}], 0, 0
        for index in range(len(shards)):
            if index % PAUSE == PAUSE - 1:
                pause()
            del shards[-1]

    def shards(self) -> Sequence[dict[str, V]]:
        """Return the entries as they are held."""
        return self._shards

    def __getitem__(self, key: str) -> V:
        return self._shards[hash(key) & self._mask][key]

    @overload
    def get(self, key: str, /) -> V | None: ...
    @overload
    def get(self, key: str, /, default: V | D) -> V | D: ...
    def get(self, key: str, /, default: Any = None) -> Any:
        return self._shards[hash(key) & self._mask].get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._shards[hash(key) & self._mask]

    def __setitem__(self, key: str, value: V) -> None:
        shard = self._mine(key)
        if key not in shard:
            self._count += 1
        shard[key] = value

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        del self._mine(key)[key]
        self._count -= 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._shards)

    def values(self) -> ValuesView[V]:
        return _Values(self)

    def items(self) -> ItemsView[str, V]:
        return _Items(self)

    def _mine(self, key: str) -> dict[str, V]:
        index = hash(key) & self._mask
        if not self._own[index]:
            self._shards[index] = self._shards[index].copy()
            self._own[index] = 1
        return self._shards[index]


def changes(new: Mapping[str, V], old: Mapping[str, V]) -> Iterator[tuple[str, V | None]]:
    """Yield the entries of `new` that are other objects than in `old`, and None for those that are gone.

    What a copy shares with its original is passed over.
    """
    pairs: Iterable[tuple[Mapping[str, V], Mapping[str, V]]] = ((new, old),)
    if isinstance(new, SharedDict) and isinstance(old, SharedDict) and len(new.shards()) == len(old.shards()):
        pairs = zip(new.shards(), old.shards(), strict=True)
    for now, before in pairs:
        if now is before:
            continue
        for key, value in now.items():
            if before.get(key) is not value:
                yield key, value
        for key in before:
            if key not in now:
                yield key, None


class _Values(ValuesView[V]):
    _mapping: SharedDict[V]

    def __iter__(self) -> Iterator[V]:
        return chain.from_iterable(map(dict.values, self._mapping.shards()))


class _Items(ItemsView[str, V]):
    _mapping: SharedDict[V]

    def __iter__(self) -> Iterator[tuple[str, V]]:
        return chain.from_iterable(map(dict.items, self._mapping.shards()))


class Sortable(Protocol):
    """What can be ordered."""

    def __lt__(self, other: Any, /) -> bool: ...


T = TypeVar("T", bound=Sortable)


class SharedOrder(Sequence[T]):
    """An ascending sequence in blocks, without duplicates; it never changes."""

    __slots__ = ("_blocks", "_ends", "_lasts")

    def __init__(self, blocks: Iterable[list[T]] = ()) -> None:
        self._blocks = [block for block in blocks if block]
        self._ends = list(accumulate(map(len, self._blocks)))
        self._lasts = [block[-1] for block in self._blocks]

    @classmethod
    def of(cls, elements: Iterable[T]) -> "SharedOrder[T]":
        """Return the elements in order."""
        found = sorted(elements)
        return SharedOrder(found[start : start + BLOCK] for start in range(0, len(found), BLOCK))

    def exchanged(self, gone: Collection[T], come: Collection[T], pause: Pause) -> "SharedOrder[T]":
        """Return these elements without those `gone`, and with those that have `come`."""
        if not gone and not come:
            return self
        if len(gone) + len(come) > len(self) // 2:
            left = set(gone)
            return SharedOrder.of({element for element in self if element not in left} | set(come))
        blocks: list[list[T]] = self._blocks.copy()
        own: set[int] = set()

        def mine(element: T) -> list[T]:
            at = min(bisect_left(self._lasts, element), len(blocks) - 1)
            if at not in own:
                own.add(at)
                blocks[at] = blocks[at].copy()
                if len(own) % PAUSE == 0:
                    pause()
            return blocks[at]

        for element in gone:
            block = mine(element)
            at = bisect_left(block, element)
            if at < len(block) and block[at] == element:
                del block[at]
        for element in come:
            block = mine(element)
            at = bisect_left(block, element)
            if at == len(block) or block[at] != element:
                block.insert(at, element)
        return SharedOrder(chain.from_iterable(map(_split, blocks)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, int):
            place = index + len(self) if index < 0 else index
            if not 0 <= place < len(self):
                raise IndexError(index)
            at = bisect_left(self._ends, place + 1)
            block = self._blocks[at]
            return block[place - self._ends[at]]
        start, stop, step = index.indices(len(self))
        if step != 1:
            return list(self)[index]
        if start >= stop:
            return []
        first, last = bisect_left(self._ends, start + 1), bisect_left(self._ends, stop)
        found = list(chain.from_iterable(self._blocks[first : last + 1]))
        before = self._ends[first] - len(self._blocks[first])
        return found[start - before : stop - before]

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._blocks)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SharedOrder | list):
            return list(self) == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]


def _split(block: list[T]) -> Iterable[list[T]]:
    if len(block) <= 2 * BLOCK:
        return (block,)
    return (block[start : start + BLOCK] for start in range(0, len(block), BLOCK))
