"""Rules of ``spec.gateway``, the extra settings of a model (see ``serai.wire.model_gateway``)."""

from typing import Any

from serai.kernel.errors import BadRequest
from serai.kernel.names import check_name
from serai.resources.kind import Body

MOST_FALLBACKS = 5
MOST_RATE_LIMITS = 20
_BY = ("model", "workspace", "key", "user")
_HOUR_MS = 3_600_000


def check_gateway(body: Body) -> None:
    """Check what a model's document says of itself alone.

    Raises:
        BadRequest: names the field, what is wrong with it, and what may stand there.
    """
    spec = body["spec"]
    gateway = spec.get("gateway")
    if gateway is None:
        return
    _whole(gateway, "timeoutMs", 1, _HOUR_MS, "spec.gateway")
    _check_retries(gateway.get("retries"))
    _check_fallbacks(gateway.get("fallbacks"), body["metadata"]["name"])
    _check_balance(gateway.get("balance"), spec.get("integrationConnections") or [])
    _check_cache(gateway.get("cache"))
    _check_request_log(gateway.get("requestLog"))
    labels = body["metadata"].get("labels") or {}
    _check_rate_limits(gateway.get("rateLimits") or [], labels)


def _whole(holder: Body, name: str, low: int, high: int, where: str) -> None:
    value = holder.get(name)
    if value is not None and not low <= value <= high:
        raise BadRequest(f"{where}.{name} {value} is outside {low} to {high}.")


def _needed(holder: Body, name: str, where: str, hint: str) -> None:
    if holder.get(name) is None:
        raise BadRequest(f"{where}.{name} is missing: {hint}.")


def _check_retries(retries: Body | None) -> None:
    if retries is None:
        return
    where = "spec.gateway.retries"
    _needed(retries, "attempts", where, "say how often a failed call is tried again, 1 to 10")
    _whole(retries, "attempts", 1, 10, where)
    _whole(retries, "backoffMs", 1, 60_000, where)
    _whole(retries, "maxBackoffMs", 1, 60_000, where)
    first, most = retries.get("backoffMs"), retries.get("maxBackoffMs")
    if first is not None and most is not None and first > most:
        raise BadRequest(f"{where}.backoffMs {first} is above {where}.maxBackoffMs {most}.")
    _check_statuses(retries.get("on"), f"{where}.on")


def _check_statuses(statuses: list[int] | None, where: str) -> None:
    if statuses is None:
        return
    if not statuses:
        raise BadRequest(f"{where} is empty: leave it out for the provider's own list.")
    for status in statuses:
        if not 400 <= status <= 599:
            raise BadRequest(f"{where} has {status}, which is no error status (400 to 599).")


def _check_fallbacks(names: list[str] | None, own: str) -> None:
    if names is None:
        return
    where = "spec.gateway.fallbacks"
    if len(names) > MOST_FALLBACKS:
        raise BadRequest(f"{where} names {len(names)} models; at most {MOST_FALLBACKS} may be.")
    for name in names:
        check_name(name, where)
        if name == own:
            raise BadRequest(f"{where} names the model {own!r} itself; name others.")
        if names.count(name) > 1:
            raise BadRequest(f"{where} names {name!r} twice.")


def _check_balance(balance: Body | None, connections: list[str]) -> None:
    if balance is None:
        return
    where = "spec.gateway.balance"
    _whole(balance, "coolDownSeconds", 1, 3600, where)
    _whole(balance, "failures", 1, 100, where)
    weights: dict[str, Any] = balance.get("weights") or {}
    for name, weight in weights.items():
        if name not in connections:
            raise BadRequest(
                f"{where}.weights names the connection {name[:80]!r}, which is not in "
                "spec.integrationConnections: add it there, or take it out here."
            )
        if not 0 <= weight <= 1000:
            raise BadRequest(f"{where}.weights.{name} {weight} is outside 0 to 1000.")
    if connections and all(weights.get(name, 1) == 0 for name in connections):
        raise BadRequest(f"{where}.weights are all 0: give one connection a weight of 1 or more.")


def _check_request_log(wanted: Body | None) -> None:
    if wanted is None:
        return
    where = "spec.gateway.requestLog"
    _needed(wanted, "enabled", where, "say true to keep something of each call")
    _whole(wanted, "retentionDays", 1, 365, where)


def _check_cache(cache: Body | None) -> None:
    if cache is None:
        return
    where = "spec.gateway.cache"
    _needed(cache, "ttlSeconds", where, "say for how long an answer is good, 1 to 2592000 seconds")
    if cache["ttlSeconds"] == 0:
        raise BadRequest(f"{where}.ttlSeconds is 0: leave spec.gateway.cache out to keep nothing.")
    _whole(cache, "ttlSeconds", 1, 2_592_000, where)
    _whole(cache, "maxEntryKb", 1, 65_536, where)


def _check_rate_limits(limits: list[Body], labels: dict[str, str]) -> None:
    if len(limits) > MOST_RATE_LIMITS:
        raise BadRequest(
            f"spec.gateway.rateLimits has {len(limits)} entries; at most {MOST_RATE_LIMITS} may be."
        )
    seen: set[tuple[str, str]] = set()
    for index, limit in enumerate(limits):
        where = f"spec.gateway.rateLimits[{index}]"
        if limit.get("requests") is None and limit.get("tokens") is None:
            raise BadRequest(f"{where} limits nothing: set requests, tokens or both.")
        _whole(limit, "requests", 1, 10**9, where)
        _whole(limit, "tokens", 1, 10**12, where)
        _needed(limit, "per", where, "second, minute, hour or day")
        by = limit.get("by") or "model"
        _check_by(by, labels, where)
        if (by, limit["per"]) in seen:
            raise BadRequest(f"{where}: there is a limit per {limit['per']} by {by} already.")
        seen.add((by, limit["per"]))


def _check_by(by: str, labels: dict[str, str], where: str) -> None:
    kind, colon, name = by.partition(":")
    if kind == "label" and colon:
        if name not in labels:
            raise BadRequest(
                f"{where}.by names the label {name[:60]!r}, which the model does not have in "
                "metadata.labels: add it there."
            )
    elif by not in _BY:
        raise BadRequest(f"{where}.by {by[:60]!r} is not one of {', '.join(_BY)} or label:NAME.")
