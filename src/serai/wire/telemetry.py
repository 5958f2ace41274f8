"""Calls of models as the platform saw them: shapes of our own, beside the contract."""

from typing import Any

import msgspec

from serai.wire.common import Wire


class ModelRequestTokens(Wire):
    """Tokens of one call.

    Attributes:
        input: of the prompt.
        output: of the answer.
        cached: of ``input``, those that the provider had in its own cache; left out when 0.
        reasoning: of ``output``, those that were thought and not said; left out when 0.
        estimated: the stream broke before the provider told, so ``output`` is one for each event.
    """

    input: int
    output: int
    cached: int | None = None
    reasoning: int | None = None
    estimated: bool = False


class ModelRequestError(Wire):
    """What went wrong.

    Attributes:
        code: ours, or what the provider called it.
        origin: ``platform``, ``provider``, or ``client`` for one that left.
    """

    code: str
    origin: str


class ModelRequest(Wire):
    """One call of a model.

    Attributes:
        request_id: the ``x-request-id`` of the answer.
        time: when it came in.
        workspace: whose model.
        model: the name of the model there that was called.
        stand_in: the one that answered instead, of its fallbacks.
        provider: integration type.
        provider_model: the name that the provider was asked for.
        answered_by: the model that the answer names.
        operation: as OpenTelemetry names it, for example ``chat``.
        status: HTTP status; 499 when the client left first.
        error: only of calls that failed.
        first_byte_ms: until the answer began: of a stream, its first event.
        duration_ms: until it ended.
        tokens: only where the provider told them.
        cost: a decimal, at the prices of the account; left out where none is set for this model.
        currency: of ``cost``.
        attempts: how often it was sent; 0 for none.
        cache: ``hit`` or ``miss``, of a model with a cache.
        streamed: the answer was an event stream.
        credential_id: the API key or grant that was used.
        subject: the user or service account.
        labels: those of the call.
    """

    request_id: str
    time: str
    workspace: str
    model: str
    provider: str
    status: int
    duration_ms: float
    attempts: int
    operation: str
    streamed: bool = False
    stand_in: str | None = None
    provider_model: str | None = None
    answered_by: str | None = None
    error: ModelRequestError | None = None
    first_byte_ms: float | None = None
    tokens: ModelRequestTokens | None = None
    cost: str | None = None
    currency: str | None = None
    cache: str | None = None
    credential_id: str | None = None
    subject: str | None = None
    labels: dict[str, str] | None = None


class ModelRequestLog(Wire):
    """What was kept of a call's content.

    Attributes:
        request_id: of the call.
        time: when the call came in.
        ends_at: when this is deleted.
        shape: roles, numbers, lengths, names of tools and parameters; no content.
        request: the body that was sent, redacted; with ``content`` switched on only.
        answer: the same of the answer.
        truncated: one of them was longer than what is kept.
        redactions: how often each kind of secret was replaced.
    """

    request_id: str
    time: str
    ends_at: str
    shape: dict[str, Any]
    request: str | None = None
    answer: str | None = None
    truncated: bool = False
    redactions: dict[str, int] | None = None


class LogRecord(Wire):
    """One line of a log. ``severity`` is a number of OpenTelemetry, 0 for an unknown one.

    ``type`` is what printed it: ``build``, ``run``, ``task`` or ``request``; ``output`` how:
    ``stdout``, ``stderr``, ``otlp``, or nothing for what the platform says. ``workload`` names the
    resource where lines of several are mixed.
    """

    timestamp: str
    message: str
    severity: int
    trace_id: str = msgspec.field(name="trace_id")
    type: str | None = None
    output: str | None = None
    workload: str | None = None
    revision: str | None = None
    instance: str | None = None
    execution_id: str | None = None
    task_id: str | None = None
    build_id: str | None = None
    attributes: dict[str, Any] | None = None


class WorkloadLogs(Wire):
    """Lines of one resource, how many there are (counted up to 10,000), and where to go on."""

    logs: list[LogRecord]
    total_count: int
    next_cursor: str | None = None
