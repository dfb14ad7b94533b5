"""Cash between subaccounts and shards."""

import pytest

from simulator.matching.ledger import MAX_SUBACCOUNT
from simulator.matching.orders import Refusal
from simulator.matching.transfers import Pocket, Route, Transfer, steps
from tests.simulator.matching.trades import NOW_MS, OPENING_E6, Desk

DOLLAR = 1_000_000


def move(
    desk: Desk,
    source: Pocket,
    destination: Pocket,
    amount_e6: int,
    client_id: str | None = None,
    route: Route = "shards",
    at_most_steps: int = 3,
) -> Transfer | Refusal:
    return desk.ledger.transfer(
        1,
        route,
        source,
        destination,
        amount_e6,
        transfer_id="t",
        client_transfer_id=client_id,
        time_ms=NOW_MS,
        at_most_steps=at_most_steps,
    )


@pytest.fixture(name="desk")
def _desk() -> Desk:
    desk = Desk()
    assert desk.ledger.create_subaccount(1) == 1
    return desk


def test_shards_are_crossed_in_the_primary_account() -> None:
    assert steps((1, 0), (2, 1)) == [((1, 0), (0, 0)), ((0, 0), (0, 1)), ((0, 1), (2, 1))]
    assert steps((0, 0), (2, 1)) == [((0, 0), (0, 1)), ((0, 1), (2, 1))]
    assert steps((1, 0), (2, 0)) == [((1, 0), (2, 0))]
    assert steps((0, 0), (0, 1)) == [((0, 0), (0, 1))]


def test_same_client_id_moves_cash_once_on_each_route(desk: Desk) -> None:
    first = move(desk, (0, 0), (1, 0), DOLLAR, "id")
    assert move(desk, (0, 0), (1, 0), DOLLAR, "id") is first
    assert desk.cash((1, 1)) == DOLLAR
    assert move(desk, (0, 0), (1, 0), DOLLAR, "id", "subaccounts") is not first
    assert desk.cash((1, 1)) == 2 * DOLLAR
    assert len(list(desk.ledger.statements.transfers(1).newest())) == 2
    desk.ledger.audit()


def test_without_an_id_each_request_moves_cash(desk: Desk) -> None:
    for _ in range(2):
        assert isinstance(move(desk, (0, 0), (0, 1), DOLLAR), Transfer)
    assert desk.cash(shard=1) == OPENING_E6 + 2 * DOLLAR


def test_transfer_that_fails_half_way_leaves_cash_where_it_came(desk: Desk) -> None:
    stopped = move(desk, (0, 0), (1, 1), DOLLAR, at_most_steps=1)
    assert isinstance(stopped, Transfer)
    assert not stopped.complete
    assert (desk.cash((1, 0), 1), desk.cash((1, 1), 1)) == (OPENING_E6 + DOLLAR, 0)
    desk.ledger.audit()


@pytest.mark.parametrize(
    ("source", "destination", "amount_e6", "code"),
    [
        ((1, 0), (0, 0), DOLLAR, "insufficient_balance"),
        ((0, 0), (0, 1), OPENING_E6 + 1, "insufficient_balance"),
        ((0, 0), (0, 1), 0, "invalid_parameters"),
        ((0, 0), (0, 1), -DOLLAR, "invalid_parameters"),
        ((0, 0), (0, 0), DOLLAR, "invalid_parameters"),
        ((0, 0), (7, 0), DOLLAR, "invalid_parameters"),
        ((0, 0), (-1, 0), DOLLAR, "invalid_parameters"),
        ((0, 0), (0, 9), DOLLAR, "invalid_parameters"),
    ],
)
def test_refused_transfer_moves_nothing_and_its_id_stays_free(
    desk: Desk, source: Pocket, destination: Pocket, amount_e6: int, code: str
) -> None:
    refusal = move(desk, source, destination, amount_e6, "id")
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    assert desk.cash() == OPENING_E6
    assert isinstance(move(desk, (0, 0), (0, 1), DOLLAR, "id"), Transfer)


def test_subaccounts_are_numbered_and_end_at_63() -> None:
    desk = Desk()
    assert [desk.ledger.create_subaccount(1) for _ in range(MAX_SUBACCOUNT)] == list(range(1, 64))
    assert desk.ledger.create_subaccount(1) is None
    assert desk.ledger.create_subaccount(2) == 1
    assert desk.ledger.knows((1, 63))
    assert not desk.ledger.knows((1, 64))


def test_account_is_opened_once_and_the_crowd_is_none() -> None:
    desk = Desk()
    for account in (0, -1, 1):
        with pytest.raises(ValueError, match=f"account {account} cannot be opened"):
            desk.ledger.open(account, DOLLAR)
