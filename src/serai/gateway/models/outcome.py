"""What is told of a model call when it is over: to the meter, and of a refusal to who watches."""

import time
from typing import TYPE_CHECKING

import msgspec

from serai.gateway.models.counts import Tally, model_named
from serai.gateway.models.failures import blame, without
from serai.gateway.models.naming import operation_of
from serai.gateway.models.token_policies import meter_call
from serai.gateway.usage import LineMeter, ModelUsage, StreamMeter

if TYPE_CHECKING:
    from serai.gateway.models.exchange import ModelExchange

HELD = 256 * 1024
"""Bytes of an answer that are handed over at most."""
_STREAM_METERS = (StreamMeter, LineMeter)
_TOLD_IN_TOKENS = frozenset({"chat", "text_completion", "generate_content"})


class Content(msgspec.Struct, frozen=True, gc=False):
    """What a call said, of a model whose calls are logged.

    Attributes:
        request: the body that was sent; empty for one that streamed.
        answer: the beginning of the answer's body, without the provider's key.
        length: of the whole answer, in bytes.
    """

    request: bytes
    answer: bytes
    length: int

    @classmethod
    def of(cls, call: "ModelExchange") -> "Content":
        """That of a call that has ended."""
        if call.failure is not None:
            told = call.failure.hidden(bytes(call.failure.body))
            return cls(call.asked, told, len(told))
        told = without(call.secret, b"".join(call.told or ()))
        if call.length > len(told):  # it may end within the key
            told = told[: max(0, HELD - len(call.secret))]
        return cls(call.asked, told[:HELD], call.length)


def conclude(call: "ModelExchange") -> None:
    """Tell of a call that has ended: sent or refused."""
    gateway, usage = call.gateway, usage_of(call)
    if call.route is not None and call.sent:
        _settle(call, usage)
        if call.logged is not None:
            gateway.on_model_content(call.logged, usage, Content.of(call))
        if call.span is not None and gateway.tracer is not None:
            gateway.tracer.end(call.span, call.route, usage)
        meter_call(gateway, call.route, call.principal, usage, call.reserved)
        return
    _settle(call, None)
    target, principal = call.target, call.principal
    route = gateway.routes.models.get((target.workspace, target.name))
    if route is None or call.problem is None:
        return
    owns = principal.account_admin and principal.account_id == route.account_id
    if owns or target.workspace in principal.workspaces:  # strangers write nothing into others' log
        if call.span is not None and gateway.tracer is not None:
            gateway.tracer.end(call.span, route, usage)
        gateway.on_model_refusal(route, principal, usage)


def _settle(call: "ModelExchange", usage: ModelUsage | None) -> None:
    if call.granted is None:
        return
    used = usage.input_tokens + usage.written() if usage is not None else 0
    untold = usage is not None and usage.untold()
    call.gateway.rate_limits.settle(call.granted, None if untold else used)


def unreported(tally: Tally, events: int, operation: str) -> bool:
    """Whether a whole stream of tokens came without a report, so that its events must be counted.

    Azure's AI inference reports none of itself, and refuses to be asked.
    """
    return events > 0 and not tally.counted and operation in _TOLD_IN_TOKENS


def usage_of(call: "ModelExchange") -> ModelUsage:
    """The call as the meter takes it."""
    meter = call.meter
    tally = Tally() if meter is None else meter.tally
    estimated = False
    operation = operation_of(call.target.rest)
    if isinstance(meter, _STREAM_METERS):
        if not call.ended:
            estimated = meter.events > tally.output
        elif call.status < 400:
            estimated = unreported(tally, meter.events, operation)
        if estimated:
            tally.note(None, meter.events)
    code, origin = blame(call.status, call.problem, call.failure)
    began, cache = call.first or call.headed, call.cache_state()
    return ModelUsage(
        request_id=call.request_id,
        status=call.status,
        input_tokens=tally.input,
        output_tokens=tally.output,
        total_tokens=tally.total,
        started=call.started,
        duration=max(0.0, time.time() - call.started),
        streamed=call.streamed,
        counted=tally.counted or cache == "hit",
        estimated=estimated,
        attempts=call.attempts_made(),
        cache=cache,
        first_byte=max(0.0, began - call.started) if began else 0.0,
        operation=operation,
        cached_tokens=tally.cached,
        reasoning_tokens=tally.reasoning,
        answered_by=model_named(tally.model),
        error=code,
        origin=origin,
        called=call.target.name,
    )
