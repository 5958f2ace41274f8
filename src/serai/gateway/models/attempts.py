"""Spans of the single attempts of a call, where its trace is recorded."""

import time
from typing import TYPE_CHECKING

import msgspec

from serai.gateway.models.counts import model_named
from serai.gateway.models.failures import blame
from serai.gateway.routes import ModelRoute
from serai.kernel.errors import SeraiError
from serai.telemetry.tracing import Span

if TYPE_CHECKING:
    from serai.gateway.models.routed import RoutedExchange


class Attempt(msgspec.Struct, gc=False):
    """One time that a call was sent to a provider.

    Attributes:
        span: below that of the call.
        route: where it was sent.
        request_id: of the call.
        operation: what was asked for, see ``ModelUsage``.
        number: the first is 1.
        started: seconds since 1970.
        status: of the answer; 0 when none came.
        error: code of what went wrong; empty for nothing.
        origin: whose fault it was.
        answered_by: the model that the answer names.
    """

    span: Span
    route: ModelRoute
    request_id: str
    operation: str
    number: int
    started: float
    status: int = 0
    error: str = ""
    origin: str = ""
    answered_by: str = ""


def begin_attempt(call: "RoutedExchange", route: ModelRoute) -> Attempt | None:
    """The call is about to be sent there; None when its trace is not recorded."""
    tracer, span = call.gateway.tracer, call.span
    if tracer is None or span is None or call.plan is None:
        return None
    return Attempt(
        tracer.child(span),
        route,
        call.request_id,
        call.plan.operation,
        call.attempts,
        time.time(),
    )


def end_attempt(call: "RoutedExchange", problem: SeraiError | None = None) -> None:
    """The attempt under way is over: it failed with this problem, or as the call shows."""
    attempt, call.attempt = call.attempt, None
    tracer = call.gateway.tracer
    if attempt is None or tracer is None:
        return
    failure, meter = call.failure, call.meter
    attempt.status = call.status if failure is None else failure.answer.status
    if problem is not None and failure is None and not call.head_sent:
        attempt.status = 0  # that of the call is ours, if it has one
    attempt.error, attempt.origin = blame(attempt.status, problem or call.problem, failure)
    attempt.answered_by = "" if meter is None else model_named(meter.tally.model)
    tracer.attempt_ended(attempt.span, attempt)
