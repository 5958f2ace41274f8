"""What compute and the gateway do, told to metering in its own words."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection

from serai.compute.execution_records import ExecutionRow
from serai.compute.ports import RunningSandbox
from serai.gateway.models.token_policies import Used
from serai.gateway.routes import ModelRoute
from serai.gateway.usage import ModelUsage
from serai.identity.principal import Principal
from serai.kernel.clock import SteadyClock
from serai.metering.dimensions import JOB_RUNTIME, SANDBOX_RUNTIME
from serai.metering.models import ModelCall
from serai.metering.records import tokens_since
from serai.metering.spans import SpanMeter
from serai.metering.store import UsageStore
from serai.metering.times import moment_of
from serai.resources.spans import Metered, close_span, open_span
from serai.store.reach import unbounded

METERED = "usage is counted by the platform itself, and no row of it is told"


class SandboxSpans:
    """Tells metering what compute starts and stops; see ``compute.ports.UsageSpans``.

    Usage is the platform's own to count, whoever's request starts or stops something.
    """

    def __init__(self, meter: SpanMeter, usage: UsageStore, clock: SteadyClock) -> None:
        self._meter = meter
        self._usage = usage
        self._clock = clock

    def of_jobs(self) -> "JobTime":
        """The same for boxes of jobs."""
        return JobTime(self._meter, self._usage, self._clock)

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
        open_span(conn, resource, SANDBOX_RUNTIME, sandbox.memory_mb, self._clock.now())

    @unbounded(METERED)
    def close(self, conn: Connection, sandbox_id: str, at: datetime) -> None:
        """The sandbox ran until now, see ``open``."""
        close_span(conn, sandbox_id, SANDBOX_RUNTIME, self._clock.now())

    def recover(self, conn: Connection, alive: list[str], now: datetime) -> None:
        """After our own restart; what the outbox held is delivered."""
        ended = self._usage.read_now(lambda u: self._meter.ended(u, SANDBOX_RUNTIME, alive))
        for sandbox_id, last_tick in ended:
            close_span(conn, sandbox_id, SANDBOX_RUNTIME, moment_of(last_tick))


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
    for route, principal, usage in calls:
        started, caller = usage.started, principal.credential_id
        ended = usage.status < 400, usage.counted
        key = (route.resource_id, route.provider, caller, int(started), *ended)
        alike = sums.get(key)
        if alike is None:
            alike = sums[key] = _Alike(route, caller, usage)
        elif started < alike.first.started:
            alike.first = usage
        alike.calls += 1
        alike.input += usage.input_tokens
        alike.output += usage.written()
    return [_as_usage(alike) for alike in sums.values()]


class _Alike:
    """Calls of one model at one provider by one credential, in one second, that ended alike."""

    __slots__ = ("caller", "calls", "first", "input", "output", "route")

    def __init__(self, route: ModelRoute, caller: str, first: ModelUsage) -> None:
        self.route = route
        self.caller = caller
        self.first = first
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
        credential_id=alike.caller,
        labels=route.labels,
        calls=alike.calls,
    )
