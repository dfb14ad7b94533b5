"""The opportunities table as somebody wants it: filters, order, columns, pinned rows; all in the address."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from markets.errors import BadRecord

from .filters import SORTS, Filters, parse

PINS_MAX: Final = 20
PIN_MAX: Final = 120


class TableColumn(msgspec.Struct, frozen=True):
    """A column: key, heading, what it means, which direction a first click sorts ("" ascending), style.

    Styles say where a column gives way while nobody chose the set: `wide` to all but wide screens, `mid` to
    narrow ones.
    """

    key: str
    name: str
    hint: str
    first: str = "-"
    css: str = "num"


COLUMNS: Final = (
    TableColumn("kind", "Kind", "What makes it an opportunity", "", "kind"),
    TableColumn("title", "Opportunity", "What to buy", "", "what"),
    TableColumn("net", "Net edge", "Profit per contract after fees, in cents"),
    TableColumn("gross", "Gross", "Profit per contract before fees, in cents", css="num wide"),
    TableColumn("fees", "Fees", "Taker fees of the whole size", css="num wide"),
    TableColumn("ev", "EV", "Expected profit of the whole size, after fees"),
    TableColumn("day", "A day", "What as much as the limits allow earns a day until it is paid out"),
    TableColumn("value", "Value", "Fair probability less price, in percentage points", css="num mid"),
    TableColumn("fair", "Fair", "Fair probability in per cent, give or take its uncertainty", css="num wide"),
    TableColumn("size", "Size", "Contracts (baskets: of the largest leg) that the book gives at this edge"),
    TableColumn("capital", "Capital", "Cash needed: cost and fees", css="num mid"),
    TableColumn(
        "locked",
        "Locked",
        "What it earns at least once the event is decided, after fees; a minus can be lost",
        css="num mid roomy",
    ),
    TableColumn(
        "void",
        "If void",
        "What it earns at least if it is called off and each leg is settled inside its bid and ask",
        css="num mid roomy",
    ),
    TableColumn("worst", "Worst case", "Profit in the worst outcome", css="num wide"),
    TableColumn(
        "annual",
        "Yearly",
        "Return on capital until the expected payout, per year; from a day until then on",
        css="num mid roomy",
    ),
    TableColumn("start", "Starts", "Start of the match", "", "num when mid"),
    TableColumn("close", "Closes", "End of trading", "", "num when mid"),
    TableColumn("volume", "Volume", "Contracts ever traded in the least traded leg", css="num wide"),
    TableColumn("age", "Age", "Age of the oldest price in it", "", "num age"),
)

assert {column.key for column in COLUMNS} == set(SORTS), "every column sorts"

CHOICES: Final = tuple(column.key for column in COLUMNS if column.key != "title")


class TableView(msgspec.Struct, frozen=True):
    """What the page shows. `chosen` columns, () for the usual ones; `pins` are keys of opportunities."""

    filters: Filters
    chosen: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[TableColumn, ...]:
        """The columns in their order."""
        wanted = {"title", *self.chosen}
        return tuple(column for column in COLUMNS if not self.chosen or column.key in wanted)

    def toggled(self, key: str, keys: Iterable[str] = ()) -> str | None:
        """Return the pins with `key` pinned or not any more, as in the address; None for none.

        Args:
            keys: of the other ways in its row: whichever is pinned, the row is.
        """
        row = {key, *keys}
        pins = [pin for pin in self.pins if pin not in row]
        if len(pins) == len(self.pins):
            pins.append(key)
        return ",".join(pins[-PINS_MAX:]) or None


def parse_view(pairs: Iterable[tuple[str, str]]) -> TableView:
    """Return the view of a query string: `cols` and `pin` are lists with commas, `cols` may repeat.

    Raises:
        BadRecord: naming the first parameter that is wrong.
    """
    pairs = list(pairs)
    chosen = [key for name, text in pairs if name == "cols" for key in text.split(",") if key]
    for key in chosen:
        if key not in CHOICES:
            raise BadRecord("cols", key, f"some of {', '.join(CHOICES)}, with commas between them")
    pins = [key for name, text in pairs if name == "pin" for key in text.split(",") if key]
    if len(pins) > PINS_MAX or any(len(key) > PIN_MAX for key in pins):
        raise BadRecord("pin", ",".join(pins), f"at most {PINS_MAX} keys of opportunities")
    filters = parse((name, text) for name, text in pairs if name not in ("cols", "pin"))
    return TableView(filters, tuple(dict.fromkeys(chosen)), tuple(dict.fromkeys(pins)))


def without_view(query: Mapping[str, str]) -> dict[str, str]:
    """Return what of a query string selects and orders rows: all that a file takes."""
    return {name: text for name, text in query.items() if name not in ("cols", "pin")}
