"""The order gateway's core: told what happens, says what to do. No clock, socket, file or thread.

Its state is what the records of its log make of it: see `records`. Times of both clocks come with every call.
"""

from collections.abc import Iterable

from bus.trading.gateway import (
    AccountAnswer,
    AccountAsk,
    AmendAsk,
    AskedAnswer,
    CancelAsk,
    GatewayStatus,
    OrderAnswer,
    OrderAsk,
    OrderEventsAnswer,
    OrderEventsAsk,
    PlaceAnswer,
    PlaceAsk,
    TransferAnswer,
    TransferAsk,
)

from .steps import AnyAction, AnyInput, CoreSettings, Now


class Core:
    """The gateway, without its process.

    Start: `Core(settings)`, `replay` with all records of the log, `open`; then, again and again, tell what
    has happened (`take`, and what is asked), and carry out `actions`. Answers are given after
    the actions that belong to them were carried out.

    Attributes:
        generation: of this gateway, after `open`.
    """

    generation: int

    def __init__(self, settings: CoreSettings) -> None: ...

    def replay(self, records: Iterable[bytes]) -> None:
        """Take the records of the log, in order, before `open`.

        Raises:
            DecodeError: a record of a later version, or none of ours.
        """
        raise NotImplementedError

    def open(self, generation: int, exchange: str, account: str, now: Now) -> None:
        """Begin: what was under way when the log ended has lost its reply.

        Raises:
            StartupError: the log is another account's or exchange's, or of a later generation.
        """
        raise NotImplementedError

    def take(self, what: AnyInput, now: Now) -> None:
        """Take something that has happened."""
        raise NotImplementedError

    def actions(self, now: Now) -> list[AnyAction]:
        """Return what is to be done now, and forget it. Call it after whatever was told, and at `next_ms`."""
        raise NotImplementedError

    def next_ms(self, now: Now) -> int | None:
        """Return when `actions` may have something at the earliest, by the steady clock."""
        raise NotImplementedError

    def exchange_ms(self, now: Now) -> int:
        """Return what the exchange's clock shows, as far as its answers have told: to sign with."""
        raise NotImplementedError

    # -- questions

    def place(self, ask: PlaceAsk, now: Now) -> PlaceAnswer:
        """Take intents, or refuse each with an event."""
        raise NotImplementedError

    def cancel(self, ask: CancelAsk, now: Now) -> AskedAnswer:
        """Ask for an order's end."""
        raise NotImplementedError

    def amend(self, ask: AmendAsk, now: Now) -> AskedAnswer:
        """Ask for another price or count of an order."""
        raise NotImplementedError

    def order_events(self, ask: OrderEventsAsk, now: Now) -> OrderEventsAnswer:
        """Return what a journal has not got yet; the trader's sign of life."""
        raise NotImplementedError

    def order(self, ask: OrderAsk) -> OrderAnswer:
        """Return what is known of an order."""
        raise NotImplementedError

    def account(self, ask: AccountAsk, asked_steady_ms: int, now: Now) -> AccountAnswer | None:
        """Return the newest listing that began at or after `asked_steady_ms`.

        None: one is on its way, ask again after every `take`. With 0 it is whatever is there.
        """
        raise NotImplementedError

    def transfer(self, ask: TransferAsk, now: Now) -> TransferAnswer | None:
        """Move cash; None: on its way, ask again (the same ask) after every `take`."""
        raise NotImplementedError

    def gateway(self, now: Now) -> GatewayStatus:
        """Return how the gateway stands."""
        raise NotImplementedError

    # -- the log

    def compactable(self, now: Now) -> bool:
        """Tell whether so much of the log is of no use any more that writing it anew is worth it."""
        raise NotImplementedError

    def base(self, now: Now) -> bytes:
        """Return the record that a log written anew begins with."""
        raise NotImplementedError

    def keeps(self, record: bytes) -> bool:
        """Tell whether a record of the log goes into the one written anew, after `base`."""
        raise NotImplementedError
