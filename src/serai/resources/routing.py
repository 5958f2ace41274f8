"""Which revision of a deployment serves: the rules of ``spec.revision``, as pure functions."""

from collections.abc import Sequence

from serai.kernel.errors import BadRequest
from serai.resources.kind import Body

PERCENTAGES = ("canaryPercent", "traffic")
TTL_MAX = 7 * 24 * 3600
DEFAULTED = frozenset({"revision", "enabled", "public"})


def check_routing(spec: Body) -> None:
    """Percentages are 0 to 100, a sticky session lasts 0 seconds to a week.

    Raises:
        BadRequest: naming the field.
    """
    sent = spec.get("revision") or {}
    for field in PERCENTAGES:
        value = sent.get(field)
        if value is not None and not 0 <= value <= 100:
            raise BadRequest(f"spec.revision.{field} {value} is outside 0 to 100.")
    ttl = sent.get("stickySessionTtl")
    if ttl is not None and not 0 <= ttl <= TTL_MAX:
        raise BadRequest(f"spec.revision.stickySessionTtl {ttl} is outside 0 to {TTL_MAX} seconds.")


def first_route(sent: Body | None, revision: str) -> Body:
    """A new deployment's only revision takes all traffic, whatever ids came with it."""
    return _route(revision, None, None, (sent or {}).get("stickySessionTtl"))


def only_points(spec: Body, current: Body) -> bool:
    """Whether a wanted spec does no more than choose other revisions: settings then stay."""
    sent = spec.get("revision") or {}
    chosen = any(sent.get(key) and sent[key] != current.get(key) for key in ("active", "canary"))
    return chosen and set(spec) <= DEFAULTED


def next_route(known: Sequence[str], current: Body, sent: Body | None, new: str | None) -> Body:
    """Where traffic goes after a replace.

    Without wishes of the client a new revision takes all traffic when the newest one had it
    before; after a rollback it is only kept, ready to be made active.

    Args:
        known: ids of the revisions there are, oldest first.
        current: ``spec.revision`` as stored.
        sent: ``spec.revision`` as the client wants it; ``None`` or empty leaves it as it is.
        new: id of the revision that this replace adds, if its settings differ.

    Raises:
        BadRequest: an id is unknown, or a percentage has no canary.
    """
    active, canary = current.get("active"), current.get("canary")
    percent, ttl = current.get("canaryPercent"), current.get("stickySessionTtl")
    newest = known[-1] if known else None
    follow, chosen, traffic = active in {None, newest}, False, None
    if sent:
        wish = _known(sent, "active", known) or active
        chosen, active = wish != active, wish
        canary, traffic = _known(sent, "canary", known), sent.get("traffic")
        percent, ttl = sent.get("canaryPercent"), sent.get("stickySessionTtl")
        if percent and canary is None and traffic is None and not chosen:
            raise _no_canary(percent)
    candidate = new or newest
    if traffic is None and new is not None and follow and not chosen:
        active = new
    elif traffic == 100 and not chosen:
        active, canary = candidate, None
    elif traffic == 0 and canary == candidate:
        canary = None
    elif traffic and traffic < 100 and candidate != active:
        canary, percent = candidate, traffic
    return _route(active, canary, percent, ttl)


def held_route(current: Body, sent: Body | None) -> Body:
    """Where traffic goes while a new revision waits: where it went, with the wish for later."""
    traffic = (sent or {}).get("traffic")
    kept = {key: value for key, value in current.items() if key != "traffic"}
    return kept | {"traffic": traffic} if traffic is not None else kept


def released_route(current: Body, revision: str) -> Body:
    """Where traffic goes once a revision that waited can serve: to it, or the wished-for part."""
    wish, ttl = current.get("traffic"), current.get("stickySessionTtl")
    active, canary = current.get("active"), current.get("canary")
    percent = current.get("canaryPercent")
    if wish is None or wish == 100 or active in {None, revision}:
        return _route(revision, canary if canary != revision else None, percent, ttl)
    if wish == 0:
        return _route(active, canary, percent, ttl)
    return _route(active, revision, wish, ttl)


def _route(active: str | None, canary: str | None, percent: int | None, ttl: int | None) -> Body:
    route: Body = {"active": active}
    if canary is not None and canary != active:
        route |= {"canary": canary, "canaryPercent": percent or 0}
    if ttl is not None:
        route["stickySessionTtl"] = ttl
    return route


def _known(sent: Body, field: str, known: Sequence[str]) -> str | None:
    wanted = sent.get(field)
    if not wanted:
        return None
    if wanted not in known:
        raise BadRequest(
            f"spec.revision.{field} {str(wanted)[:80]!r} is not a revision that is kept: use one "
            f"of {', '.join(reversed(known))}."
        )
    return str(wanted)


def _no_canary(percent: int) -> BadRequest:
    return BadRequest(
        f"spec.revision.canaryPercent {percent} has no canary: name a revision in "
        "spec.revision.canary, or send spec.revision.traffic together with new settings."
    )
