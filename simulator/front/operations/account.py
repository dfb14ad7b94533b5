"""The account itself: its usage level and budgets, its keys, and where it prefers its cash."""

from typing import Any, Final

from simulator.front.api import Call, Routes
from simulator.front.bodies import Body, invalid_parameters
from simulator.front.limits import TIERS
from simulator.front.render import dumps
from simulator.front.wire import ApiError, Response, bad_request, error, not_found, ok

routes = Routes()

ALLOCATIONS_MOST: Final = 101


@routes.get("/account/limits", private=True)
def get_account_api_limits(call: Call) -> Response:
    advanced = call.account in call.api.exchange.advanced
    tier = call.api.limits.tier_of(advanced) if call.api.limits is not None else "prestige"
    read_refill, read_capacity, write_refill, write_capacity = TIERS[tier]
    grant = {"exchange_instance": "event_contract", "level": "advanced", "source": "manual"}
    body = {
        "grants": [grant] if advanced else [],
        "read": {"bucket_capacity": read_capacity, "refill_rate": read_refill},
        "usage_tier": tier,
        "write": {"bucket_capacity": write_capacity, "refill_rate": write_refill},
    }
    return ok(dumps(body))


@routes.post("/account/api_usage_level/upgrade", private=True)
def upgrade_account_api_usage_level(call: Call) -> Response:
    exchange = call.api.exchange
    if not exchange.matching.orders[call.account]:
        raise ApiError(error(403, "forbidden", "forbidden", "no API-created order among the latest 100"))
    exchange.advanced.add(call.account)
    return Response(201, b"")


@routes.get("/account/api_usage_level/volume_progress", private=True)
def get_account_api_usage_level_volume_progress(_call: Call) -> Response:
    return ok('{"volume_progress":[]}')


# Keys ------------------------------------------------------------------------------------------------


@routes.get("/api_keys", private=True)
def get_api_keys(call: Call) -> Response:
    keys = [
        {"api_key_id": pair.key_id, "name": f"simulated account {pair.account}", "scopes": ["read", "write"]}
        for pair in call.api.keys.values()
        if pair.account == call.account
    ]
    body: dict[str, Any] = {"api_keys": keys}
    expires_s = call.api.exchange.switches.attestation_expires_s
    if expires_s is not None:
        body["api_key_region_expiration_ts"] = expires_s
    return ok(dumps(body))


def _no_keys(call: Call, name: str, *needed: str) -> Response:
    """Refuse to make a key: an account has only the one stored beside the simulator."""
    body = Body.of(call.request.body, name)
    for member in needed:
        body.required(member)
    return error(403, "forbidden", "forbidden", "insufficient API usage level")


@routes.post("/api_keys", private=True)
def create_api_key(call: Call) -> Response:
    return _no_keys(call, "CreateApiKeyRequest", "name", "public_key")


@routes.post("/api_keys/generate", private=True)
def generate_api_key(call: Call) -> Response:
    return _no_keys(call, "GenerateApiKeyRequest", "name")


@routes.delete("/api_keys/{api_key}", private=True)
def delete_api_key(call: Call) -> Response:
    pair = call.api.keys.get(call.args["api_key"])
    if pair is None or pair.account != call.account:
        raise not_found()
    raise bad_request("the only key of an account cannot be deleted")


# Cash between shards ---------------------------------------------------------------------------------


@routes.get("/portfolio/target_balance_allocation", private=True)
def get_target_balance_allocation(call: Call) -> Response:
    wanted = call.api.exchange.allocations.get(call.account, {})
    rows = [{"exchange_index": shard, "percent": percent} for shard, percent in sorted(wanted.items())]
    return ok(dumps({"allocations": rows}))


@routes.post("/portfolio/target_balance_allocation", private=True)
def set_target_balance_allocation(call: Call) -> Response:
    """Note it. It moves nothing here, since when and what Kalshi sweeps is unknown."""
    body = Body.of(call.request.body, "SetTargetBalanceAllocationRequest")
    rows = body.objects("allocations", "TargetBalanceAllocationInput")
    if len(rows) > ALLOCATIONS_MOST:
        raise invalid_parameters(f"at most {ALLOCATIONS_MOST} allocations")
    wanted: dict[int, int] = {}
    for row in rows:
        shard, percent = row.integer("exchange_index", 0, 2**31 - 1), row.integer("percent", 0, 100)
        if shard is None or percent is None:
            raise invalid_parameters("exchange_index and percent are required")
        if shard not in call.api.exchange.halts.shards or shard in wanted:
            raise invalid_parameters("exchange_index does not exist, or is there twice")
        wanted[shard] = percent
    if sum(wanted.values()) != 100:
        raise invalid_parameters("percent must add up to 100")
    call.api.exchange.allocations[call.account] = wanted
    return ok("{}")
