"""`kalshi-bus trader cash`: cash on each shard of the exchange, and what to move so that it covers orders.

A transfer's id follows from the plan and from the account's cash when the plan was made: if it is sent again,
for example after a lost answer, the gateway carries it out only once.
"""

import uuid
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, Final

import msgspec

from bus.ask import Asker, NoAnswer
from bus.process.lifecycle import EXIT_CRASHED, EXIT_REFUSED
from bus.process.programs import to_type
from bus.process.settings import Settings
from bus.protocol.answers import Refusal
from bus.trading.gateway import AccountAnswer, AccountAsk, ShardCash, TransferAnswer, TransferAsk
from bus.trading.shapes import told
from markets.errors import BadRecord
from markets.units import CENT_E6, format_money, parse_decimal
from trader.journal.reader import Reader, readable

from .opening import newest_journal

ACCOUNT_MS: Final = 12_000
TRANSFER_MS: Final = 30_000


class Plan(msgspec.Struct, frozen=True):
    """Transfers, and what stays missing on shards because no other shard can spare it."""

    transfers: tuple[TransferAsk, ...]
    missing_e6: dict[int, int]


def plan(listed: AccountAnswer, journal_id: str, wanted_e6: dict[int, int] | None = None) -> Plan:
    """Return the transfers after which every shard has what its orders need.

    Amounts are whole cents, taken from the shards with most to spare.

    Args:
        wanted_e6: the free cash that shards should have, if more than zero.
    """
    free_e6 = {shard.exchange_index: shard.free_e6 for shard in listed.shards}
    wanted_e6 = wanted_e6 or {}
    for shard in wanted_e6:
        free_e6.setdefault(shard, 0)
    spare_e6 = {shard: money - wanted_e6.get(shard, 0) for shard, money in free_e6.items()}
    transfers: list[TransferAsk] = []
    missing_e6: dict[int, int] = {}
    for to_shard, short_e6 in sorted((shard, -spare) for shard, spare in spare_e6.items() if spare < 0):
        need_e6 = -(-short_e6 // CENT_E6) * CENT_E6
        for from_shard in sorted(spare_e6, key=lambda shard: (-spare_e6[shard], shard)):
            amount_e6 = min(need_e6, spare_e6[from_shard] // CENT_E6 * CENT_E6)
            if amount_e6 <= 0:
                continue
            spare_e6[from_shard] -= amount_e6
            need_e6 -= amount_e6
            id_ = transfer_id(listed, journal_id, from_shard, to_shard, amount_e6)
            transfers.append(
                TransferAsk(transfer_id=id_, from_shard=from_shard, to_shard=to_shard, amount_e6=amount_e6)
            )
        if need_e6 > 0:
            missing_e6[to_shard] = need_e6
    return Plan(tuple(transfers), missing_e6)


def transfer_id(
    listed: AccountAnswer, journal_id: str, from_shard: int, to_shard: int, amount_e6: int
) -> str:
    """Return a transfer's id: the same while the account is unchanged, another once cash has moved."""
    had = sorted((shard.exchange_index, shard.cash_e6) for shard in listed.shards)
    moved = sorted(movement.id for movement in listed.movements)
    name = f"{listed.exchange}:{listed.account}:{had}:{moved}:{from_shard}:{to_shard}:{amount_e6}"
    return str(uuid.uuid5(uuid.UUID(journal_id), name))


def as_text(shards: Sequence[ShardCash], made: Plan) -> str:
    """Return both as lines for people."""
    lines = [f"{'shard':<8}{'cash':>18}{'held':>18}{'free':>18}"]
    for shard in sorted(shards, key=lambda shard: shard.exchange_index):
        amounts = (shard.cash_e6, shard.held_e6, shard.free_e6)
        lines.append(
            f"{shard.exchange_index:<8}" + "".join(f"{format_money(amount):>18}" for amount in amounts)
        )
    for transfer in made.transfers:
        amount = format_money(transfer.amount_e6)
        lines.append(f"move {amount} from shard {transfer.from_shard} to shard {transfer.to_shard}")
    for index, short_e6 in made.missing_e6.items():
        lines.append(f"shard {index} lacks {format_money(short_e6)} that no other shard has to spare")
    if not made.transfers and not made.missing_e6:
        lines.append("every shard has what its orders need: there is nothing to move")
    return "\n".join(lines)


def wanted(texts: Iterable[str]) -> dict[int, int]:
    """Return the free cash that shards should have, from texts such as `1=50`: dollars by shard.

    Raises: BadRecord: one of them cannot be read.
    """
    found = {}
    for text in texts:
        shard, _, dollars = text.partition("=")
        if not (shard.isdecimal() and shard.isascii() and len(shard) <= 4):
            raise BadRecord("want", text, "SHARD=DOLLARS, such as 1=50")
        found[int(shard)] = parse_decimal(dollars, 6, "want")
        if not 0 <= found[int(shard)] <= 10**15:
            raise BadRecord("want", text, "dollars from 0 to a billion")
    return found


def moving(want: Sequence[str]) -> str:
    """Return the command that carries out what was planned for these wishes."""
    return " ".join([to_type("trader cash"), *(f"--want {each}" for each in want), "--move --yes"])


def cash(settings: Settings, want: Sequence[str], context: Any, *, move: bool, yes: bool) -> int:
    """Print the cash on each shard and what to move; move it if asked to. Return the exit code.

    Raises:
        StartupError: there is no journal. BadRecord: `want` is wrong.
        Refusal, DecodeError: the order gateway could not say.
    """
    if settings.mode == "paper":
        raise Refusal("bad_request", "mode paper uses play money, which is on no shard")
    wanted_e6, path = wanted(want), newest_journal(settings.data_dir, settings.mode, settings.env)
    with readable(path), closing(Reader(path)) as reader:
        journal_id = reader.meta()["id"]
    with closing(Asker(context, settings.orders)) as asker:
        try:
            question = msgspec.to_builtins(AccountAsk(journal=journal_id))
            listed = told(asker.ask(question, ACCOUNT_MS), AccountAnswer)
        except NoAnswer:
            raise NoAnswer(f"no order gateway answers: {to_type('doctor')} says why") from None
        if "shards" in listed.missing:
            raise Refusal("not_ready", "the exchange did not list the account's cash: ask again")
        made = plan(listed, journal_id, wanted_e6)
        print(as_text(listed.shards, made))
        if not move:
            if made.transfers:
                print(f"nothing was moved; to move it: {moving(want)}")
            return 0
        if not yes:
            raise Refusal("bad_request", "--move moves cash at the exchange: confirm with --move --yes")
        return _carry_out(asker, made)


def _carry_out(asker: Asker, made: Plan) -> int:
    for transfer in made.transfers:
        what = f"{format_money(transfer.amount_e6)} to shard {transfer.to_shard}"
        try:
            answer = told(asker.ask(msgspec.to_builtins(transfer), TRANSFER_MS), TransferAnswer)
        except NoAnswer:
            print(f"{what}: UNKNOWN: the gateway has not answered; repeated, it is still carried out once")
            return EXIT_CRASHED
        print(f"{what}: {answer.state}{': ' + answer.reason if answer.reason else ''}")
        if answer.state != "done":
            return EXIT_REFUSED if answer.state == "refused" else EXIT_CRASHED
    return EXIT_CRASHED if made.missing_e6 else 0
