"""A slow matcher to check the engine against: a list of what stands at each price, and nothing clever."""

from dataclasses import dataclass, field


@dataclass
class Entry:
    """Contracts at a price: of an order (by name), or of the crowd (None)."""

    name: str | None
    account: int
    count: int


@dataclass
class ReferenceBook:
    """Both sides: price in the side's own prices -> what stands there, the first first."""

    sides: dict[str, dict[int, list[Entry]]] = field(default_factory=lambda: {"bid": {}, "ask": {}})
    fills: list[tuple[str | None, str | None, int, int]] = field(default_factory=list)

    def best(self, side: str) -> int | None:
        return max((p for p, entries in self.sides[side].items() if entries), default=None)

    def levels(self, side: str) -> dict[int, int]:
        return {p: sum(e.count for e in entries) for p, entries in self.sides[side].items() if entries}

    def set_crowd(self, side: str, price: int, count: int) -> None:
        """What is added goes to the end; of what is taken away each order gains in proportion."""
        entries = self.sides[side].setdefault(price, [])
        before = sum(e.count for e in entries if e.name is None)
        if count >= before:
            if count > before:
                entries.append(Entry(None, 0, count - before))
            return
        rebuilt: list[Entry] = []
        ahead = passed = 0
        for entry in entries:
            if entry.name is None:
                passed += entry.count
                continue
            new_ahead = passed * count // before
            if new_ahead > ahead:
                rebuilt.append(Entry(None, 0, new_ahead - ahead))
                ahead = new_ahead
            rebuilt.append(entry)
        if count > ahead:
            rebuilt.append(Entry(None, 0, count - ahead))
        self.sides[side][price] = rebuilt

    def take(
        self, name: str | None, account: int, side: str, limit: int, count: int, stp: str
    ) -> tuple[int, bool]:
        """Take from the other side; return what is left, and whether an own order stopped it."""
        other = "ask" if side == "bid" else "bid"
        worst = 10_000 - (limit if side == "bid" else 10_000 - limit)
        while count:
            price = self.best(other)
            if price is None or price < worst:
                break
            first = self.sides[other][price][0]
            if first.name is not None and name is not None and first.account == account:
                if stp == "taker_at_cross":
                    return count, True
                self.sides[other][price].pop(0)
                continue
            size = min(count, first.count)
            first.count -= size
            count -= size
            if not first.count:
                self.sides[other][price].pop(0)
            if name is not None or first.name is not None:
                self.fills.append((name, first.name, price if other == "bid" else 10_000 - price, size))
        return count, False

    def rest(self, name: str, account: int, side: str, price: int, count: int) -> None:
        own = price if side == "bid" else 10_000 - price
        self.sides[side].setdefault(own, []).append(Entry(name, account, count))

    def drop(self, name: str) -> int:
        for levels in self.sides.values():
            for entries in levels.values():
                for entry in entries:
                    if entry.name == name:
                        entries.remove(entry)
                        return entry.count
        return 0

    def meet(self) -> None:
        """The crowd takes the orders of users that it crosses, without standing in its own way."""
        for side, other in (("bid", "ask"), ("ask", "bid")):
            while True:
                crowd = max(
                    (p for p, es in self.sides[side].items() if any(e.name is None for e in es)), default=None
                )
                users = max(
                    (p for p, es in self.sides[other].items() if any(e.name for e in es)), default=None
                )
                if crowd is None or users is None or crowd + users < 10_000:
                    break
                standing = self.sides[side][crowd]
                last = next(e for e in reversed(standing) if e.name is None)
                first = next(e for e in self.sides[other][users] if e.name is not None)
                size = min(sum(e.count for e in standing if e.name is None), first.count)
                left = size
                while left:  # the crowd's last contracts come first: those behind the orders
                    last = next(e for e in reversed(standing) if e.name is None)
                    gone = min(left, last.count)
                    last.count -= gone
                    left -= gone
                    if not last.count:
                        standing.remove(last)
                first.count -= size
                if not first.count:
                    self.sides[other][users].remove(first)
                self.fills.append((None, first.name, users if other == "bid" else 10_000 - users, size))
