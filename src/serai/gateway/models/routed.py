"""A model call with more than one chance: retries, fallbacks, several connections, timeouts.

A Course says what is tried, and in which order; here it is done. Until the first byte of an answer
goes to the client, a failure begins the next attempt instead of being told. From then on the call
is like any other.
"""

import asyncio
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from serai.catalog.provider_api import understands
from serai.gateway.admission import admit_model
from serai.gateway.forwarding import DROPPED_ANSWER
from serai.gateway.models.attempts import Attempt, begin_attempt, end_attempt
from serai.gateway.models.course import Course, Next
from serai.gateway.models.exchange import ModelExchange
from serai.gateway.models.health import Lease
from serai.gateway.models.plans import Plan
from serai.gateway.models.rate_limits import Grant
from serai.gateway.models.refusals import refusal
from serai.gateway.models.verdicts import FINAL, Outcome, Verdict, of_answer, of_problem
from serai.gateway.problems import ProviderFailed, UpstreamSlow
from serai.gateway.request import Request
from serai.gateway.routes import ModelRoute, connection_of
from serai.gateway.targets import Target
from serai.gateway.upstream import Answer
from serai.kernel.errors import BadRequest, SeraiError
from serai.telemetry.tracing import Span

if TYPE_CHECKING:
    from serai.gateway.protocol import GatewayProtocol

TIMEOUT_FIELD = b"x-serai-timeout-ms"
_LONGEST_TIMEOUT_MS = 3_600_000
_MILLISECONDS = re.compile(rb"[0-9]{1,9}")
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})


class RoutedExchange(ModelExchange):
    """One call of a model with extra settings."""

    answer_drops = DROPPED_ANSWER | {
        b"age",
        b"x-serai-attempts",
        b"x-serai-cache",
        b"x-serai-connection",
        b"x-serai-model",
    }
    __slots__ = (
        "alarm",
        "attempt",
        "attempts",
        "called",
        "course",
        "ends",
        "held",
        "holder",
        "lease",
        "outcome",
        "passed",
    )

    def __init__(self, client: "GatewayProtocol", request: Request, target: Target) -> None:
        ModelExchange.__init__(self, client, request, target)
        self.called: ModelRoute = None  # type: ignore[assignment]
        self.course: Course | None = None
        self.held: bytes | None = None
        """The client's body, for as long as it may have to be sent once more."""
        self.ends = 0.0
        self.attempts = 0
        self.attempt: Attempt | None = None
        """The one under way, where the call's trace is recorded."""
        self.lease: Lease | None = None
        self.holder = ""
        """The model whose policies and limits have let the call pass, by id."""
        self.passed: Grant | None = None
        """The last that rate limits gave, of whichever model."""
        self.outcome = FINAL
        self.alarm: asyncio.TimerHandle | None = None

    # -- the request
    def _plan_of(self, route: ModelRoute) -> Plan:
        """How it is sent; for a model without a connection, how the first that stands in has it."""
        self.called = route
        if not route.replaced:
            return super()._plan_of(route)
        stand_in = next(self._stand_ins(), None)
        plan = None if stand_in is None else super()._plan_of(stand_in)
        if plan is None or not plan.asks:
            raise refusal(route)
        return plan

    def _must_collect(self, route: ModelRoute, plan: Plan) -> bool:
        """What may have to be sent again is collected, if it is not too long for that."""
        self.ends = self.client.loop.time() + self._patience()
        if self._is_json() and (plan.rewrites or plan.asks or route.reserves):
            return True
        known = b"transfer-encoding" not in self.request.index
        return known and self._announced() <= self.gateway.limits.model_body_bytes

    def _patience(self) -> float:
        """Seconds that the whole call may take until its answer begins."""
        given = self.request.index.get(TIMEOUT_FIELD)
        limit = self.gateway.limits.model_response_timeout
        if given is None:
            return limit
        if not _MILLISECONDS.fullmatch(given) or not 1 <= int(given) <= _LONGEST_TIMEOUT_MS:
            raise BadRequest(
                "The header x-serai-timeout-ms must be a whole number of milliseconds from 1 to"
                f" {_LONGEST_TIMEOUT_MS}."
            )
        return min(limit, int(given) / 1000)

    def _begin_stream(self, plan: Plan) -> None:
        places = self.called.places
        if self.called.replaced:
            raise refusal(self.called)
        if self.called.rate_limits:
            self.granted = self._limit(self.called, b"")
        place = self.gateway.health.choose(places) if places and plan.asks else self._home()
        self.route = place
        plan = self.gateway.plans.find(place, self.target.rest)
        self._lease(place, plan)
        super()._begin_stream(plan)

    def _home(self) -> ModelRoute:
        """Where what the model's provider keeps is asked for."""
        return self.called.places[0] if self.called.places else self.called

    def _send(self, plan: Plan) -> None:
        self.held = b"".join(self.backlog)
        self.backlog = []
        self.ends = self.client.loop.time() + self._patience()
        self._take(self.called)
        self._set_out(plan)

    def _set_out(self, plan: Plan) -> None:
        gateway = self.gateway
        self.course = Course(
            self._models(plan), self._admits, gateway.health, self.ends, gateway.random
        )
        place = self.course.first()
        if place is None:
            raise refusal(self.called)
        self._attempt(place)

    def _models(self, plan: Plan) -> Iterator[ModelRoute]:
        """The model, and those that may stand in for it."""
        called = self.called
        if not plan.asks:  # what is kept at one provider is not at others
            yield self._home()
            return
        if not called.replaced:
            yield called
        yield from self._stand_ins()

    def _stand_ins(self) -> Iterator[ModelRoute]:
        """Models that may stand in for the one that was called, if they admit the call."""
        called, rest = self.called, self.target.rest.decode("latin-1")
        for name in called.gateway.fallbacks or ():
            route = self.gateway.routes.models.get((called.workspace, name))
            if route is None or route.blocked or route.replaced:
                continue
            if understands(route.api.family, rest, called.api.family):
                yield route

    def _admits(self, route: ModelRoute) -> bool:
        """Whether a model that stands in lets the call pass: its policies and limits hold too."""
        if route.resource_id == self.holder:
            return True
        try:
            admit_model(self.gateway, self.principal, route)
            self._take(route)
        except SeraiError:
            return False
        return True

    def _take(self, route: ModelRoute) -> None:
        """Set aside what the policies and limits of a model want to be.

        What those of the model before had set aside is given back first, as it has used nothing:
        limits that both share must not count it twice.
        """
        self._give_back()
        self.holder = ""
        reserved = self._reserve(route, self.held or b"") if route.strict else None
        try:
            granted = None
            if route.rate_limits:
                granted = self.passed = self._limit(route, self.held or b"", self.passed)
        except SeraiError:
            if reserved is not None:
                self.gateway.token_policies.release(reserved)
            raise
        self.reserved, self.granted, self.holder = reserved, granted, route.resource_id

    def _give_back(self) -> None:
        if self.reserved is not None:
            self.gateway.token_policies.release(self.reserved)
        if self.granted is not None:
            self.gateway.rate_limits.settle(self.granted, 0)
        self.reserved = self.granted = None

    # -- attempts
    def _attempt(self, place: ModelRoute) -> None:
        self.route = place
        try:
            plan = self.gateway.plans.find(place, self.target.rest)
            body = self._rewritten(plan, self.held or b"")
            copied = self._copied()
        except Exception as error:
            self.fail(self._as_problem(error))
            return
        self._lease(place, plan)
        self._send_whole(plan, copied, body)

    def _lease(self, place: ModelRoute, plan: Plan) -> None:
        """An attempt at this place begins."""
        self.plan = plan
        self.attempts += 1
        self.lease = self.gateway.health.begin(place)
        self.attempt = begin_attempt(self, place)
        if self.held is not None:
            self._listen()

    def _listen(self) -> None:
        """Wait for the first byte of an answer, and not for longer than this attempt may take."""
        self._silence()
        loop, timeout = self.client.loop, (self.route or self.called).gateway.timeout_ms
        left = self._answer_due() - loop.time()
        patience = left if timeout is None else min(left, timeout / 1000)
        if patience < self.gateway.limits.model_response_timeout:
            self.alarm = loop.call_later(patience, self._alarmed, patience)

    def end(self) -> None:
        super().end()
        if self.held is None and self.attempts and not self.done and not self.head_sent:
            self._listen()

    def _answer_due(self) -> float:
        return self.client.loop.time() + self._patience() if self.held is None else self.ends

    def parent(self) -> Span | None:
        return self.span if self.attempt is None else self.attempt.span

    def repeatable(self) -> bool:
        """Also a POST, where another attempt may be made anyway: the connection was dead."""
        if self.request.method in _SAFE:
            return super().repeatable()
        extra = self.called.gateway
        chances = extra.retries or extra.fallbacks or self.called.places
        return bool(chances) and self._may_repeat(Outcome(Verdict.AGAIN))

    def _may_repeat(self, outcome: Outcome) -> bool:
        if self.course is None or self.held is None:
            return False
        asks = self.plan is not None and self.plan.asks
        return asks or outcome.unsent or self.request.method in _SAFE

    def _alarmed(self, patience: float) -> None:
        self.alarm = None
        self.fail(UpstreamSlow(f"The model server did not start to answer within {patience:g} s."))

    def timed_out(self) -> None:
        self.fail(UpstreamSlow(f"No model server answered within {self._patience():g} s."))

    def _silence(self) -> None:
        alarm, self.alarm = self.alarm, None
        if alarm is not None:
            alarm.cancel()

    # -- failures
    def fail(self, problem: SeraiError) -> None:
        if self.done:
            return
        if not self.head_sent:
            known = self.failure is not None and isinstance(problem, ProviderFailed)
            if self._goes_on(FINAL if known else of_problem(problem), problem):
                return
            if self.attempts:
                self._fail_marked(problem)
                return
        super().fail(problem)

    def _fail_marked(self, problem: SeraiError) -> None:
        """Tell who failed; calls that waited for one token may have the problem in common."""
        headers = problem.headers
        problem.headers = headers | self._marks()
        try:
            super().fail(problem)
        finally:
            problem.headers = headers

    def cut(self, problem: SeraiError) -> None:
        if self.lease is not None:
            self.lease.failed(of_problem(problem))
        super().cut(problem)

    def _goes_on(self, outcome: Outcome, problem: SeraiError | None = None) -> bool:
        """Begin the next attempt, if there is one to be made, and forget the failed one."""
        end_attempt(self, problem)
        lease, self.lease = self.lease, None
        if lease is not None and outcome.verdict is not Verdict.FINAL:
            lease.failed(outcome)
        elif lease is not None:
            lease.end()
        course, place = self.course, self.route
        if course is None or place is None or not self._may_repeat(outcome):
            return False
        following = course.after(place, outcome, self.client.loop.time())
        if following is None:
            return False
        self._forget()
        if following.pause > 0:
            self.spawn(lambda: self._later(following))
        else:
            self._attempt(following.place)
        return True

    async def _later(self, following: Next) -> None:
        await asyncio.sleep(following.pause)
        if not self.done:
            self._attempt(following.place)

    def _forget(self) -> None:
        """Leave nothing of an attempt that failed."""
        self._silence()
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.close()
        task, self.task = self.task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        self.failure = self.meter = None
        self.streamed = self.ended = self.strip = False
        self.head_sent = self.chunked_out = False
        self.out = []
        self.status = self.length = 0
        self.headed = self.first = 0.0
        self.told = self.problem = None

    def interim(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Told to nobody: it may be of an attempt that fails."""

    # -- answers
    def _refused(self, answer: Answer) -> None:
        self.outcome = FINAL if self.route is None else of_answer(answer, self.route)
        super()._refused(answer)

    def _gives_way(self) -> bool:
        if self.lease is not None and self.outcome.verdict is Verdict.FINAL:
            self.lease.well()
        return self._goes_on(self.outcome)

    def answered(self, answer: Answer) -> None:
        super().answered(answer)
        if self.head_sent and answer.status < 400 and self.lease is not None:
            self.lease.well()

    def flush(self) -> None:
        if self.head_sent:
            self.held = None
        super().flush()

    def _begin_answer(self, answer: Answer) -> None:
        super()._begin_answer(answer)
        self._silence()
        self._mark()

    def _mark(self) -> None:
        """Tell in the head, which has just been written, who answered."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in self._marks().items())
        self.out.insert(-1, lines.encode("latin-1"))

    def _marks(self) -> dict[str, str]:
        route = self.route or self.called
        marks = {"x-serai-model": route.name, "x-serai-attempts": str(self.attempts)}
        connection = connection_of(route)
        return marks | ({"x-serai-connection": connection} if connection else {})

    # -- the end
    def closed(self) -> None:
        self._silence()
        self.held = None
        if self.lease is not None:
            self.lease.end()
        end_attempt(self)
        super().closed()

    def attempts_made(self) -> int:
        return self.attempts if self.sent else 0
