"""What compute and the gateway do, told to metering in its own words."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection

from serai.compute.execution_records import ExecutionRow
from serai.compute.ports import RunningSandbox
from serai.gateway.models.token_policies import Used
from serai.gateway.routes import ModelRoute
from serai.gateway.usage import ModelUsage
from serai.hosting.ports import Workload
from serai.identity.principal import Principal
from serai.kernel.clock import SteadyClock, millis
from serai.metering.dimensions import JOB_RUNTIME, SANDBOX_RUNTIME
from serai.metering.events import Series, UsageEvent
from serai.metering.models import ModelCall
from serai.metering.records import record, tokens_since
from serai.metering.spans import SpanMeter
from serai.metering.store import UsageStore
from serai.metering.times import moment_of
from serai.resources.spans import Metered, close_span, open_span
from serai.store.reach import unbounded

HOSTED = {
    "agent": ("agent_compute_runtime_gbs", "agent"),
    "function": ("mcp_server_compute_runtime_gbs", "mcp_server"),
}
"""By kind: the dimension of its running time, and what the bill calls it."""
ASYNC_CALLS = "agent_async_requests_count"
METERED = "usage is counted by the platform itself, and no row of it is told"


class SandboxSpans:
    """Tells metering what compute starts and stops; see ``compute.ports.UsageSpans``.

    Usage is the platform's own to count, whoever's request starts or stops something.
    """

    def __init__(self, meter: SpanMeter, usage: UsageStore, clock: SteadyClock) -> None:
        self.meter = meter
        self.usage = usage
        self.clock = clock

    def of_jobs(self) -> "JobTime":
        """The same for boxes of jobs."""
        return JobTime(self.meter, self.usage, self.clock)

    @unbounded(METERED)
    def open(self, conn: Connection, sandbox: RunningSandbox, at: datetime) -> None:
        """The sandbox runs from now on: ``at`` by a clock that nobody sets."""
        resource = Metered(
            id=sandbox.id,
            account_id=sandbox.account_id,
            workspace=sandbox.workspace,
            type="sandbox",
            name=sandbox.name,
        )
        open_span(conn, resource, SANDBOX_RUNTIME, sandbox.memory_mb, self.clock.now())

    @unbounded(METERED)
    def close(self, conn: Connection, sandbox_id: str, at: datetime) -> None:
        """The sandbox ran until now, see ``open``."""
        close_span(conn, sandbox_id, SANDBOX_RUNTIME, self.clock.now())

    def recover(self, conn: Connection, alive: list[str], now: datetime) -> None:
        """After our own restart; what the outbox held is delivered."""
        ended = self.usage.read_now(lambda u: self.meter.ended(u, SANDBOX_RUNTIME, alive))
        for sandbox_id, last_tick in ended:
            close_span(conn, sandbox_id, SANDBOX_RUNTIME, moment_of(last_tick))


class HostedUsage:
    """Tells metering what runs of deployments; see ``hosting.ports.Usage``."""

    def __init__(self, spans: SandboxSpans) -> None:
        self._meter, self._usage, self._clock = spans.meter, spans.usage, spans.clock

    @unbounded(METERED)
    def runs(self, conn: Connection, workload: Workload, memory_mb: int) -> None:
        """Instances with so much memory run from now on."""
        if workload.kind not in HOSTED:  # the bill knows no dimension for it
            return
        dimension, type_ = HOSTED[workload.kind]
        if memory_mb <= 0:
            close_span(conn, workload.document_id, dimension, self._clock.now())
            return
        resource = Metered(
            id=workload.document_id,
            account_id=workload.account_id,
            workspace=workload.workspace,
            type=type_,
            name=workload.name,
        )
        open_span(conn, resource, dimension, memory_mb, self._clock.now())

    async def called(self, workload: Workload, call_id: str, at: datetime) -> None:
        """An agent took an asynchronous call; of others these are not counted."""
        if workload.kind != "agent":
            return
        series = Series(
            account_id=workload.account_id,
            workspace=workload.workspace,
            resource_type="agent",
            resource_name=workload.name,
            resource_id=workload.document_id,
            dimension=ASYNC_CALLS,
        )
        start = millis(at)
        name = f"{workload.document_id}/{ASYNC_CALLS}/{start}/{call_id}"
        event = UsageEvent(id=name, series=series, start=start, end=start, quantity=1)
        await self._usage.write(lambda conn: record(conn, [event]))

    def recover(self, conn: Connection, alive: list[str]) -> None:
        """After our own restart; what the outbox held is delivered."""
        for dimension, _ in HOSTED.values():
            ended = self._usage.read_now(
                lambda u, one=dimension: self._meter.ended(u, one, alive)  # type: ignore[misc]
            )
            for resource_id, last_tick in ended:
                close_span(conn, resource_id, dimension, moment_of(last_tick))


class JobTime:
    """Tells metering of the boxes of jobs; see ``hosting.tasks_boxes.JobSpans``."""

    def __init__(self, meter: SpanMeter, usage: UsageStore, clock: SteadyClock) -> None:
        self._meter = meter
        self._usage = usage
        self._clock = clock

    @unbounded(METERED)
    def rate(self, conn: Connection, execution: ExecutionRow, memory_mb: int) -> None:
        """So many MiB of a job's boxes are there from now on, by a clock that nobody sets."""
        spec, at = execution.spec, self._clock.now()
        if memory_mb == 0:
            close_span(conn, spec.job_id, JOB_RUNTIME, at)
            return
        resource = Metered(
            id=spec.job_id,
            account_id=spec.account_id,
            workspace=execution.workspace,
            type="job",
            name=execution.job,
        )
        open_span(conn, resource, JOB_RUNTIME, memory_mb, at)

    def recover(self, conn: Connection, alive: list[str]) -> None:
        """After our own restart; what the outbox held is delivered."""
        ended = self._usage.read_now(lambda u: self._meter.ended(u, JOB_RUNTIME, alive))
        for job_id, last_tick in ended:
            close_span(conn, job_id, JOB_RUNTIME, moment_of(last_tick))


def tokens_used(usage: UsageStore) -> Used:
    """What models used before this process counted, for policies; see ``TokenPolicies``."""

    async def used(resource_id: str, since: float) -> tuple[int, int]:
        return await usage.read(lambda conn: tokens_since(conn, resource_id, int(since * 1000)))

    return used


def model_call(route: ModelRoute, principal: Principal, usage: ModelUsage) -> ModelCall:
    """A call that the gateway made, as usage."""
    (call,) = model_calls([(route, principal, usage)])
    return call


def model_calls(calls: Iterable[tuple[ModelRoute, Principal, ModelUsage]]) -> list[ModelCall]:
    """Calls that the gateway made, as usage; those alike of one caller and second as one."""
    sums: dict[tuple[str, str, str, int, bool, bool], _Alike] = {}
    alike: _Alike | None = None
    for route, principal, usage in calls:
        second, passed = int(usage.started), usage.status < 400
        if (
            alike is None  # nearly all are like the one before
            or route is not alike.route
            or principal is not alike.principal
            or second != alike.second
            or passed is not alike.passed
            or usage.counted is not alike.first.counted
        ):
            caller = principal.credential_id
            key = (route.resource_id, route.provider, caller, second, passed, usage.counted)
            alike = sums.get(key)
            if alike is None:
                alike = sums[key] = _Alike(route, principal, usage, second, passed)
        if usage.started < alike.first.started:
            alike.first = usage
        received, sent = usage.input_tokens, usage.output_tokens
        hidden = usage.total_tokens - received
        alike.calls += 1
        alike.input += received
        alike.output += sent if sent >= hidden else hidden  # as ``written`` has it
    return [_as_usage(alike) for alike in sums.values()]


class _Alike:
    """Calls of one model at one provider by one credential, in one second, that ended alike."""

    __slots__ = ("calls", "first", "input", "output", "passed", "principal", "route", "second")

    def __init__(
        self, route: ModelRoute, principal: Principal, first: ModelUsage, second: int, passed: bool
    ) -> None:
        self.route = route
        self.principal = principal
        self.first = first
        self.second = second
        self.passed = passed
        self.calls = self.input = self.output = 0


def _as_usage(alike: _Alike) -> ModelCall:
    route, usage = alike.route, alike.first
    return ModelCall(
        account_id=route.account_id,
        workspace=route.workspace,
        resource_id=route.resource_id,
        model_name=route.name,
        request_id=usage.request_id,
        started=usage.started,
        input_tokens=alike.input,
        output_tokens=alike.output,
        total_tokens=alike.input + alike.output,
        counted=usage.counted,
        status=usage.status,
        provider=route.provider,
        credential_id=alike.principal.credential_id,
        labels=route.labels,
        calls=alike.calls,
    )
