"""What order books cost: what the sweep leaves of the budget, and what refusals say of a batch's price."""

from random import Random

from markets.json.words import COST
from publisher.books.billing import (
    BILLING_EVERY_MS,
    BOOKS_PER_REQUEST,
    MAX_ROUNDS,
    Billing,
    reserve_of,
    rounds_of,
)
from publisher.kalshi.budget import BASIC, Budget

NOW_MS = 1_790_000_000_000


def test_rounds_follow_what_the_sweep_leaves() -> None:
    budget = Budget(BASIC, Random(1), 0.0)  # 161.5 tokens/s: 193 requests in 12 s

    assert rounds_of(budget, 12, sweep_requests=5, calls=3) == (MAX_ROUNDS, 3)
    assert rounds_of(budget, 12, sweep_requests=185, calls=3) == (2, 3)
    assert rounds_of(budget, 12, sweep_requests=191, calls=3) == (1, 2)
    assert rounds_of(budget, 12, sweep_requests=193, calls=3) == (0, 0)
    assert rounds_of(budget, 12, sweep_requests=0, calls=0) == (0, 0)


def test_refused_batches_are_believed_to_be_billed_per_ticker_and_asked_again_later() -> None:
    billing = Billing()
    assert billing.batch(480, NOW_MS) == BOOKS_PER_REQUEST

    billing.refused(100, NOW_MS)
    # One refusal may be another's doing.
    assert billing.batch(480, NOW_MS) == BOOKS_PER_REQUEST
    billing.refused(100, NOW_MS)

    size = billing.batch(480, NOW_MS)
    assert billing.per_ticker
    assert billing.price(size) == size * COST <= 480 / 4
    billing.accepted(size)
    assert billing.batch(480, NOW_MS) == size

    assert billing.batch(480, NOW_MS + BILLING_EVERY_MS) == BOOKS_PER_REQUEST
    assert billing.price(100) == COST
    billing.refused(100, NOW_MS + BILLING_EVERY_MS)  # one is enough now
    assert billing.per_ticker


def test_answered_batch_clears_earlier_refusals() -> None:
    billing = Billing()
    billing.refused(100, NOW_MS)
    billing.accepted(100)
    billing.refused(100, NOW_MS)

    assert not billing.per_ticker


def test_the_next_sweep_finds_its_tokens_as_far_as_the_bucket_holds_them() -> None:
    budget = Budget(BASIC, Random(1), 0.0)  # 484.5 tokens at most

    assert reserve_of(budget, 5) == 5 * COST
    assert reserve_of(budget, 500) == 0.8 * budget.capacity
