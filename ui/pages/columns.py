"""The opportunities table as wanted: filters, order, columns, pinned rows; all held in the address."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from markets.errors import BadRecord

from .filters import SORTS, Filters, parse

PINS_MAX: Final = 20
PIN_MAX: Final = 120


class TableColumn(msgspec.Struct, frozen=True):
    """A column: key, heading, meaning, direction of the first click ("" ascending), style.

    Unless columns were chosen, styles say when one is dropped: `wide` on all but wide screens, `mid` on
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
    TableColumn("fees", "Fees", "Taker fees for the whole size", css="num wide"),
    TableColumn("ev", "EV", "Expected profit of the whole size, after fees"),
    TableColumn("day", "Per day", "Expected profit per day until the payout, at the size the limits allow"),
    TableColumn("value", "Value", "Fair probability minus price, in percentage points", css="num mid"),
    TableColumn("fair", "Fair", "Fair probability in percent, plus or minus its uncertainty", css="num wide"),
    TableColumn("size", "Size", "Contracts (in a basket, of its largest leg) available at this edge"),
    TableColumn("capital", "Capital", "Cash needed: cost and fees", css="num mid"),
    TableColumn(
        "locked",
        "Locked",
        "Least profit once the event is decided, after fees; a negative amount can be lost",
        css="num mid roomy",
    ),
    TableColumn(
        "void",
        "If void",
        "Least profit if it is called off and each leg is settled between its bid and ask",
        css="num mid roomy",
    ),
    TableColumn("worst", "Worst case", "Profit in the worst outcome", css="num wide"),
    TableColumn(
        "annual",
        "Yearly",
        "Return on capital until the expected payout, per year; shown if that is a day away or more",
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
    """What the page shows. `chosen` are columns, () for the usual ones; `pins` are keys of opportunities."""

    filters: Filters
    chosen: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[TableColumn, ...]:
        """The columns in order."""
        wanted = {"title", *self.chosen}
        return tuple(column for column in COLUMNS if not self.chosen or column.key in wanted)

    def toggled(self, key: str, keys: Iterable[str] = ()) -> str | None:
        """Return the pins after toggling `key`, as in the address; None for none.

        Args:
            keys: those of the other ways in its row; if any is pinned, the row is.
        """
        row = {key, *keys}
        pins = [pin for pin in self.pins if pin not in row]
        if len(pins) == len(self.pins):
            pins.append(key)
        return ",".join(pins[-PINS_MAX:]) or None


def parse_view(pairs: Iterable[tuple[str, str]]) -> TableView:
    """Return the view in a query string: `cols` and `pin` are comma-separated lists, `cols` may repeat.

    Raises:
        BadRecord: naming the first parameter that is wrong.
    """
    pairs = list(pairs)
    chosen = [key for name, text in pairs if name == "cols" for key in text.split(",") if key]
    for key in chosen:
        if key not in CHOICES:
            raise BadRecord("cols", key, f"some of {', '.join(CHOICES)}, separated by commas")
    pins = [key for name, text in pairs if name == "pin" for key in text.split(",") if key]
    if len(pins) > PINS_MAX or any(len(key) > PIN_MAX for key in pins):
        raise BadRecord("pin", ",".join(pins), f"at most {PINS_MAX} keys of opportunities")
    filters = parse((name, text) for name, text in pairs if name not in ("cols", "pin"))
    return TableView(filters, tuple(dict.fromkeys(chosen)), tuple(dict.fromkeys(pins)))


def without_view(query: Mapping[str, str]) -> dict[str, str]:
    """Return the part of a query string that selects and sorts rows, which is all that a file uses."""
    return {name: text for name, text in query.items() if name not in ("cols", "pin")}
