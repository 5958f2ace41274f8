"""What the gateway does for a model beyond passing calls on: ``spec.gateway``, ours alone.

Everything is optional, and a model without it is called as plainly as possible. A field that is not
known here is refused, as a typing error would otherwise switch a protection off unnoticed. Values
are checked in ``serai.resources.model_gateway``.
"""

from typing import Literal

from serai.wire.common import Wire


class ModelRetries(Wire, forbid_unknown_fields=True):
    """Trying a call again, with exponential backoff and full jitter.

    Attributes:
        attempts: how often it is tried again after the first time.
        backoff_ms: upper bound of the first pause, in milliseconds; it doubles each time.
        max_backoff_ms: upper bound of every pause, also of those that the provider asks for.
        on: status codes worth another attempt; None for the provider's own list.
    """

    attempts: int | None = None
    backoff_ms: int | None = None
    max_backoff_ms: int | None = None
    on: list[int] | None = None


class ModelBalance(Wire, forbid_unknown_fields=True):
    """How calls are spread over ``spec.integrationConnections``.

    Attributes:
        weights: share of each connection; 1 where it is not named, 0 for a spare one.
        cool_down_seconds: how long a connection is left alone after failures.
        failures: how many in a row it takes.
    """

    weights: dict[str, int] | None = None
    cool_down_seconds: int | None = None
    failures: int | None = None


class ModelCache(Wire, forbid_unknown_fields=True):
    """Answering the same call again from memory.

    Attributes:
        ttl_seconds: how long an answer is good for.
        max_entry_kb: longer answers are not kept; in KiB.
    """

    ttl_seconds: int | None = None
    max_entry_kb: int | None = None


class ModelRateLimit(Wire, forbid_unknown_fields=True):
    """At most so many requests or tokens in a window of time.

    Attributes:
        requests: calls that may begin.
        tokens: of prompts and answers together.
        per: the window.
        by: what is counted apart: ``model``, ``workspace``, ``key``, ``user`` or ``label:NAME``.
    """

    requests: int | None = None
    tokens: int | None = None
    per: Literal["second", "minute", "hour", "day"] | None = None
    by: str | None = None


class ModelRequestLog(Wire, forbid_unknown_fields=True):
    """What is kept of each call.

    Attributes:
        enabled: keep a line of each call.
        content: keep prompts and answers too.
        retention_days: for how long.
    """

    enabled: bool | None = None
    content: bool | None = None
    retention_days: int | None = None


class ModelGateway(Wire, forbid_unknown_fields=True):
    """The extra settings of a model.

    Attributes:
        timeout_ms: how long one attempt may take until the first byte of its answer.
        retries: trying again.
        fallbacks: names of models of the same workspace that answer when this one fails, in order.
        balance: spreading calls over several connections.
        cache: answering from memory.
        rate_limits: each of them holds.
        request_log: what is kept of each call.
    """

    timeout_ms: int | None = None
    retries: ModelRetries | None = None
    fallbacks: list[str] | None = None
    balance: ModelBalance | None = None
    cache: ModelCache | None = None
    rate_limits: list[ModelRateLimit] | None = None
    request_log: ModelRequestLog | None = None
