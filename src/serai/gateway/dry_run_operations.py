"""Trying a policy on calls of models that were made; an extension of ours."""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
from litestar import Response, post
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection, func, select

from serai.api.exchange import AnyRequest, decode_body, json_response
from serai.catalog.placement import Attached, Placement, PolicyProhibits
from serai.gateway.models.dry_run import MadeCall, Verdict, dry_run
from serai.gateway.models.token_policies import policy_of
from serai.identity.caller import Caller, caller_of
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest
from serai.metering.dimensions import MODEL_INPUT_TOKENS, MODEL_OUTPUT_TOKENS
from serai.metering.query import parse_window
from serai.metering.records import events_since
from serai.metering.times import millis, moment_of
from serai.resources.kinds import POLICIES
from serai.resources.operations import ResourceContext, labelled
from serai.store.database import Database
from serai.store.tables.requests import model_requests
from serai.store.tables.usage import usage_events, usage_series
from serai.telemetry.records import Wanted, first_number, moment_seconds
from serai.wire.common import Metadata
from serai.wire.dry_runs import DryRunModel, DryRunRefusal, PolicyDryRun, PolicyDryRunRequest
from serai.wire.models import Policy

MOST_CALLS = 500_000
MOST_REFUSALS = 1000
UNSTORED = "spec"
"""What a policy from the body is called."""


class Window(msgspec.Struct, frozen=True):
    """Whose calls, and from when to when, in milliseconds since 1970.

    The name of the account's workspace may have been another account's before.
    """

    account_id: str
    workspace: str
    start: int
    end: int
    models: tuple[str, ...]


def dry_run_operations(
    context: ResourceContext, usage: Database, placement: Placement
) -> list[ControllerRouterHandler]:
    """The one operation."""

    @post(
        "/v0/policy-dry-runs",
        status_code=200,
        **labelled("CreatePolicyDryRun", PolicyDryRun, PolicyDryRunRequest),
    )
    async def create_dry_run(request: AnyRequest) -> Response[bytes]:
        """What a policy would have refused"""
        caller = caller_of(request)
        wanted = await decode_body(request, PolicyDryRunRequest)
        window = _window(wanted, caller)
        policy = await _policy(context, placement, wanted, caller.workspace)
        answer = await usage.read_in_thread(
            lambda conn: _answer(conn, policy, window, placement, now())
        )
        return json_response(msgspec.json.encode(answer))

    return [create_dry_run]


def _window(wanted: PolicyDryRunRequest, caller: Caller) -> Window:
    given = {"startTime": [wanted.start_time], "endTime": [wanted.end_time]}
    start, end = parse_window(given, now())
    models = tuple(wanted.models or ())
    return Window(caller.principal.account_id, caller.workspace, start, end, models)


async def _policy(
    context: ResourceContext, placement: Placement, wanted: PolicyDryRunRequest, workspace: str
) -> Attached:
    if (wanted.policy is None) == (wanted.spec is None):
        raise BadRequest("Give either policy, the name of one, or spec, a policy to try.")
    store, name = context.store, wanted.policy
    if name is not None:
        document = await context.db.read(
            lambda conn: store.need(conn, POLICIES, workspace, name or "")
        )
        return Attached(name, msgspec.json.decode(document.body)["spec"])
    assert wanted.spec is not None
    shape = Policy(metadata=Metadata(name=UNSTORED), spec=wanted.spec)
    spec = store.wanted(POLICIES, shape)["spec"]
    placement.check_units(spec)
    return Attached(UNSTORED, spec)


def _answer(
    conn: Connection, policy: Attached, window: Window, placement: Placement, moment: datetime
) -> PolicyDryRun:
    calls, reason = _made(conn, window), None
    limits = policy_of(policy.name, policy.spec)
    if limits is not None:
        verdicts = dry_run(limits, calls)
    else:
        try:
            placement.demand("model", [policy])
        except PolicyProhibits as refusal:
            reason = refusal.message
        verdicts = (Verdict(call, None, 0.0) for call in calls)
    sums = _Sums()
    for verdict in verdicts:
        sums.add(verdict, refused=reason is not None or verdict.reached is not None)
    models = sorted(sums.models.values(), key=lambda one: one.model)
    tokens = sum(one.tokens for one in models)
    return PolicyDryRun(
        policy=policy.name,
        type=policy.spec["type"],
        start_time=rfc3339(moment_of(window.start)),
        end_time=rfc3339(moment_of(window.end)),
        calls=sum(one.calls for one in models),
        tokens=tokens,
        refused=sum(one.refused for one in models),
        refused_tokens=sum(one.refused_tokens for one in models),
        unrecorded_tokens=_unrecorded(conn, window, tokens, moment),
        reason=reason,
        models=models,
        refusals=sums.refusals,
    )


class _Sums:
    """What is told of the verdicts."""

    def __init__(self) -> None:
        self.models: dict[str, DryRunModel] = {}
        self.refusals: list[DryRunRefusal] = []

    def add(self, verdict: Verdict, *, refused: bool) -> None:
        """Add one."""
        call, reached = verdict.call, verdict.reached
        model = self.models.setdefault(call.model, DryRunModel(model=call.model))
        tokens = call.received + call.sent
        model.calls += 1
        model.tokens += tokens
        if not refused:
            return
        at = _time(call.began)
        model.refused += 1
        model.refused_tokens += tokens
        model.first_refused_at = model.first_refused_at or at
        model.last_refused_at = at
        if len(self.refusals) < MOST_REFUSALS:
            refusal = DryRunRefusal(
                time=at, model=call.model, request_id=call.request_id, tokens=tokens
            )
            if reached is not None:
                refusal.limit = reached.told()
                refusal.reset_at = _time(verdict.reset)
            self.refusals.append(refusal)


def _time(seconds: float) -> str:
    return rfc3339(datetime.fromtimestamp(seconds, UTC))


def _made(conn: Connection, window: Window) -> Iterator[MadeCall]:
    """Calls that went to a provider, as they began; what the platform refused is left out."""
    c = model_requests.c
    rows = Wanted(
        account_id=window.account_id,
        workspace=window.workspace,
        exact={},
        first=first_number(window.start),
        last=first_number(window.end),
    )
    wanted = [*rows.conditions(), (c.status < 400) | (c.origin != "platform")]
    if window.models:
        wanted.append(c.model.in_(window.models))
    count = conn.execute(select(func.count()).select_from(model_requests).where(*wanted)).scalar()
    if (count or 0) > MOST_CALLS:
        raise BadRequest(
            f"The window has {count} calls; at most {MOST_CALLS} are gone through at once. Give a"
            " shorter one, or fewer models."
        )
    query = select(
        c.number, c.duration, c.model, c.resource_id, c.request_id, c.input_tokens, c.output_tokens
    )
    for row in conn.execute(query.where(*wanted).order_by(c.number)):
        began = moment_seconds(row.number)
        ended = began + row.duration / 1e6
        names = row.model, row.resource_id, row.request_id
        yield MadeCall(began, ended, *names, row.input_tokens, row.output_tokens)


def _unrecorded(conn: Connection, window: Window, tokens: int, moment: datetime) -> int | None:
    """Tokens of the bill beyond those of the rows: calls of which none was kept."""
    if window.start < events_since(millis(moment)):
        return None
    series, events = usage_series.c, usage_events.c
    wanted = [
        series.workspace == window.workspace,
        series.account_id == window.account_id,
        series.dimension.in_([MODEL_INPUT_TOKENS, MODEL_OUTPUT_TOKENS]),
        series.total.is_(False),
        events.start >= window.start,
        events.start < window.end,
    ]
    if window.models:
        wanted.append(series.model.in_(window.models))
    query = (
        select(func.coalesce(func.sum(events.quantity), 0))
        .join(usage_series, series.id == events.series_id)
        .where(*wanted)
    )
    return max(0, int(conn.execute(query).scalar_one()) - tokens)
