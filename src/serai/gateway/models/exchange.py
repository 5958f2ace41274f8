"""The answer to a model call: passed on and metered, or told as an error."""

import time
from typing import TYPE_CHECKING

import msgspec

from serai.gateway.exchange import Exchange
from serai.gateway.forwarding import status_start
from serai.gateway.models.failures import Failure, error_event, without
from serai.gateway.models.outcome import HELD, conclude
from serai.gateway.models.question import Question
from serai.gateway.models.rate_limits import without_rate_fields
from serai.gateway.models.refusals import unreadable
from serai.gateway.models.timing import timing_key
from serai.gateway.problems import of_provider
from serai.gateway.request import Request
from serai.gateway.routes import ModelRoute
from serai.gateway.targets import Target
from serai.gateway.upstream import Answer
from serai.gateway.usage import AnswerMeter, LineMeter, Meter, StreamMeter, meter_for
from serai.kernel.errors import SeraiError

if TYPE_CHECKING:
    from serai.gateway.models.express import Express
    from serai.gateway.protocol import GatewayProtocol

_STREAMS = (b"text/event-stream", b"application/x-ndjson", b"application/stream+json")


class ModelExchange(Question):
    """One model call, from its request to the end of its answer."""

    __slots__ = (
        "ended",
        "failure",
        "first",
        "headed",
        "length",
        "meter",
        "problem",
        "streamed",
        "told",
    )

    def __init__(self, client: "GatewayProtocol", request: Request, target: Target) -> None:
        Question.__init__(self, client, request, target)
        self.streamed = False
        self.ended = False
        self.meter: Meter | None = None
        self.failure: Failure | None = None
        self.problem: SeraiError | None = None
        self.headed = self.first = 0.0
        """When head and body of the answer began, in seconds since 1970."""
        self.told: list[bytes] | None = None
        """The beginning of the answer, where it is kept; and its length."""
        self.length = 0

    def resume(self, call: "Express") -> None:
        """Take over a call that is on its way already."""
        self.plan, self.route = call.plan, call.plan.route
        self.principal, self.credential = call.principal, call.credential()
        self.request_id, self.span = call.name, call.span
        self.started, self.strip, self.sent_at = call.started, call.strip, call.sent
        self.address, self.secret = call.plan.address, call.plan.secret
        self.collects, self.sent = call.plan.rewrites, True
        self.heard = self.client.loop.time() - max(0.0, time.time() - call.started)
        self.deadline = self.heard + self.gateway.limits.model_response_timeout

    def attempts_made(self) -> int:
        """How often the call was sent to a provider."""
        return 1 if self.sent else 0

    def cache_state(self) -> str:
        """Whether the cache answered, see ``ModelUsage``."""
        return ""

    # -- the answer
    def answered(self, answer: Answer) -> None:
        self.headed = time.time()
        index = answer.index
        kind = index.get(b"content-type", b"")
        if kind != b"application/json":
            kind = kind.lower()
            self.streamed = kind.startswith(_STREAMS)
        if answer.status >= 400:
            self._refused(answer)
            return
        if b"html" in kind and self._expects_json():
            self.fail(Failure(answer, b"").problem())
            return
        if not answer.empty:
            coding = index.get(b"content-encoding", b"")
            self.meter = meter_for(kind, coding, strip=self.strip)
        if self.logged is not None:
            self.told = []
        if self.granted is not None and self.route is not None:
            self._begin_limited(self.route, answer)
            return
        self._begin_answer(answer)

    def _begin_answer(self, answer: Answer) -> None:
        """Write the head, with how long it took to come."""
        Exchange.answered(self, answer)
        before = self.sent_at - self.started
        timing = self.gateway.timings[timing_key(before, self.headed - self.sent_at)]
        self.out.insert(-1, timing)  # before the empty line

    def _begin_limited(self, route: ModelRoute, answer: Answer) -> None:
        """Pass the head on with our own limits in it in place of the provider's."""
        headers = without_rate_fields(answer.headers)
        self._begin_answer(msgspec.structs.replace(answer, headers=headers))
        for name, value in self.rate_fields(route).items():
            self.out.insert(-1, f"{name}: {value}\r\n".encode("ascii"))

    def _expects_json(self) -> bool:
        """Whether it is a question to a model, and not, say, the download of a file."""
        return self.collects and self.request.method == b"POST"

    def _refused(self, answer: Answer) -> None:
        failure = Failure(answer, self.secret)
        if answer.status == 401 and self.route is not None:
            self.gateway.google_tokens.forget(self.route.api.service_account)
        if answer.empty:
            self._pass_head(failure.head(answer.length))
        else:
            self.failure = failure

    def answer_length(self, answer: Answer) -> int | None:
        return None if self.streamed and self.strip else answer.length

    def received(self, data: bytes) -> None:
        if self.failure is not None:
            self._failing(self.failure, data)
            return
        if not self.first or self.told is not None:
            self._seen(data)
        if self.meter is not None:
            data = self.meter.feed(data)
        if self.chunked_out:
            Exchange.received(self, data)
        else:
            self.out.append(data)

    def _seen(self, data: bytes) -> None:
        """Note when the answer's body began, and where it is kept also the body."""
        self.first = self.first or time.time()
        if self.told is not None:
            if self.length < HELD:
                self.told.append(data)
            self.length += len(data)

    def _failing(self, failure: Failure, data: bytes) -> None:
        """Hold an error answer while it is short; pass a long one on in pieces."""
        if not failure.overflows(data) and not failure.passing:
            return
        if not failure.passing:
            if self._gives_way():
                return
            if failure.is_html():
                self.fail(failure.problem())
                return
            failure.passing = True
            self._pass_head(failure.head(None))
        Exchange.received(self, failure.release())

    def settled(self) -> None:
        self.ended = True
        if self.failure is not None:
            self._failed(self.failure)
            return
        meter = self.meter
        if meter is not None:
            rest = meter.end()
            if rest:
                self._pass_rest(rest)
            if isinstance(meter, AnswerMeter) and meter.broken and self._can_still_refuse():
                self._unreadable(meter)
                return
        Exchange.settled(self)

    def _pass_rest(self, rest: bytes) -> None:
        """Pass on what the meter has held until the end."""
        Exchange.received(self, rest)

    def _gives_way(self) -> bool:
        """Whether a failed answer is not passed on, because the call is sent once more."""
        return False

    def _failed(self, failure: Failure) -> None:
        self.upstream = None
        if not failure.passing and self._gives_way():
            return
        if failure.passing:
            Exchange.received(self, failure.hidden(bytes(failure.body)))
        else:
            try:
                answer, body = failure.whole()
            except SeraiError as problem:
                self.fail(problem)
                return
            self._pass_head(answer)
            Exchange.received(self, body)
        Exchange.settled(self)

    def _pass_head(self, answer: Answer) -> None:
        """Pass on the head of the provider's own error, marked as such."""
        self._begin_answer(answer)
        self.out.insert(-1, b"x-blaxel-source: provider\r\n")  # before the empty line

    def _can_still_refuse(self) -> bool:
        """Nothing of the answer has been sent: what waits begins with its status line."""
        waits = bool(self.out) and self.out[0] is status_start(self.status)
        return waits and self._expects_json()

    def _unreadable(self, meter: AnswerMeter) -> None:
        """Tell of an answer that is no JSON although it says so; none of it has been sent."""
        self.upstream = None
        self.out = []
        self.head_sent = self.chunked_out = False
        self.fail(unreadable(self.status, without(self.secret, b"".join(meter.parts))))

    def fail(self, problem: SeraiError) -> None:
        self.problem = self.problem or problem
        super().fail(of_provider(problem))

    def cut(self, problem: SeraiError) -> None:
        self.problem = problem
        if self.streamed and (self.chunked_out or not self.request.http11):
            family = self.plan.route.api.family if self.plan else "openai"
            last = error_event(family, problem, self.request_id)
            meter = self.meter
            if isinstance(meter, LineMeter):
                last = last[last.index(b"data: ") + 6 : -1]
            elif isinstance(meter, StreamMeter) and meter.held and not meter.strip:
                last = b"\n\n" + last  # what was passed of an event must not swallow this one
            Exchange.received(self, last)
            self.flush()
        super().cut(problem)

    def closed(self) -> None:
        if self.reserved is not None:
            self.gateway.token_policies.release(self.reserved)
        conclude(self)
