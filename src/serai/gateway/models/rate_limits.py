"""Rate limits of models: so many requests or tokens in any second, minute, hour or day.

They are settings of a model (``spec.gateway.rateLimits``), and unlike token policies their windows
slide: in no stretch of such a length more passes than the limit, wherever it begins. Tokens of a
call are set aside when it is sent (a token for every byte of its body, and as many as its body
allows the answer) and what was not used is given back when it ends. Counts are in memory alone.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from serai.gateway.problems import TooManyTokens
from serai.gateway.upstream import Headers
from serai.gateway.windows import SlidingWindow
from serai.identity.principal import Principal
from serai.kernel.errors import RateLimited
from serai.wire.model_gateway import ModelGateway

_SECOND = 1_000_000_000
SPANS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_SWEEP = 4096
"""Counters there may be before those that nobody has used for their span are dropped."""

ASSUMED_OUTPUT = 1024
"""Tokens set aside for the answer of a call that does not say how long it may get."""


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """One limit of a model; 0 is none.

    Attributes:
        requests: calls that may begin in a window.
        tokens: of prompts and answers together.
        per: the window.
        by: what is counted apart, as it was written.
        counter: what it is counted under: the same for all models that share a limit.
    """

    requests: int = 0
    tokens: int = 0
    per: str
    by: str
    counter: str

    def key(self, principal: Principal) -> tuple[str, str]:
        """The counter of a caller's calls."""
        if self.by == "key":
            return f"{self.counter}/{principal.credential_id}", self.per
        if self.by == "user":
            return f"{self.counter}/{principal.subject}", self.per
        return self.counter, self.per


def rate_limits_of(
    gateway: ModelGateway | None, workspace: str, resource_id: str, labels: dict[str, str]
) -> tuple[RateLimit, ...]:
    """The limits of a model's settings."""
    limits = (gateway.rate_limits if gateway else None) or []
    return tuple(
        RateLimit(
            requests=limit.requests or 0,
            tokens=limit.tokens or 0,
            per=limit.per or "minute",
            by=limit.by or "model",
            counter=_counter(limit.by or "model", workspace, resource_id, labels),
        )
        for limit in limits
    )


def _counter(by: str, workspace: str, resource_id: str, labels: dict[str, str]) -> str:
    if by == "workspace":
        return f"workspace/{workspace}"
    if by.startswith("label:"):
        name = by.removeprefix("label:")
        return f"{by}/{workspace}/{labels.get(name, '')}"
    return f"{by}/{resource_id}"


class _Counter:
    """Requests and tokens counted under one key, and tokens that are set aside."""

    __slots__ = ("held", "requests", "seen", "tokens")

    def __init__(self, span: int) -> None:
        self.requests, self.tokens = SlidingWindow(span), SlidingWindow(span)
        self.held = 0
        self.seen = 0


class Grant(msgspec.Struct, frozen=True):
    """A call that was let through.

    Attributes:
        held: what was set aside for it under each of its counters.
        counted: counters that have counted it as a request, also for models that it left behind.
    """

    held: list[tuple[_Counter, int]]
    counted: list[_Counter]


class Standing(msgspec.Struct, frozen=True):
    """How one kind of thing stands in its tightest limit; ``reset`` is in nanoseconds."""

    kind: str
    limit: int
    remaining: int
    reset: int


class RateLimits:
    """Counts calls and their tokens, and refuses; from the event loop's thread only.

    Args:
        clock: nanoseconds of a clock that nobody sets.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._counters: dict[tuple[str, str], _Counter] = {}
        self._sweep_at = _SWEEP

    def admit(
        self,
        limits: Sequence[RateLimit],
        principal: Principal,
        least: int,
        most: int | None,
        counted: Sequence[_Counter] = (),
    ) -> Grant:
        """Let a call pass, or none of its counters changes.

        Args:
            limits: those of the model.
            principal: who calls.
            least: tokens of its prompt, at most.
            most: tokens that its answer may have; None when it does not say.
            counted: of its grant at another model, which is settled: it is still one request.

        Raises:
            RateLimited: says which limit, and when there is room again.
        """
        now = self._clock()
        held: list[tuple[_Counter, int]] = []
        refusals: list[tuple[int, RateLimit, str, int]] = []
        for limit in limits:
            counter = self._counter(limit.key(principal), now)
            need = _need(limit, least, most)
            held.append((counter, need))
            wait = _wait(counter, limit, need, now, asks=counter not in counted)
            if wait is not None:
                refusals.append((wait[0], limit, wait[1], need))
        if refusals:
            raise _refusal(*max(refusals, key=lambda one: one[0]))
        for counter, need in held:
            if counter not in counted:
                counter.requests.add(now, 1)
            counter.held += need
        return Grant(held, [*counted, *(counter for counter, _ in held)])

    def settle(self, grant: Grant, tokens: int | None) -> None:
        """A call has ended: what was set aside is free again, what it used counts.

        Args:
            grant: from ``admit``.
            tokens: what it used; None when nobody knows, and all that was set aside counts.
        """
        now = self._clock()
        for counter, need in grant.held:
            counter.held -= need
            used = need if tokens is None else tokens
            if used > 0:
                counter.tokens.add(now, used)

    def standing(self, limits: Sequence[RateLimit], principal: Principal) -> list[Standing]:
        """How a caller stands: in requests and in tokens, each by the limit with least room."""
        now = self._clock()
        found: dict[str, Standing] = {}
        for limit in limits:
            counter = self._counter(limit.key(principal), now)
            for kind, most, window, held in (
                ("requests", limit.requests, counter.requests, 0),
                ("tokens", limit.tokens, counter.tokens, counter.held),
            ):
                if most:
                    left = max(0, most - window.used(now) - held)
                    one = Standing(kind, most, left, window.wait(now, 0))
                    known = found.get(kind)
                    if known is None or left < known.remaining:
                        found[kind] = one
        return list(found.values())

    def _counter(self, key: tuple[str, str], now: int) -> _Counter:
        counter = self._counters.get(key)
        if counter is None:
            if len(self._counters) >= self._sweep_at:
                self._sweep(now)
            counter = self._counters[key] = _Counter(SPANS[key[1]] * _SECOND)
        counter.seen = now
        return counter

    def _sweep(self, now: int) -> None:
        """Forget counters that cannot count anything any more."""
        self._counters = {
            key: counter
            for key, counter in self._counters.items()
            if counter.seen == now  # a call that is being let in has it already
            or counter.held
            or counter.requests.used(now)
            or counter.tokens.used(now)
        }
        self._sweep_at = max(_SWEEP, 2 * len(self._counters))


_OPENAI, _ANTHROPIC = "x-ratelimit-", "anthropic-ratelimit-"

NEVER = 1 << 62
"""The wait for what can never pass."""

_BUSY = _SECOND
"""The wait for tokens that running calls have set aside: nobody knows when they end."""


def _need(limit: RateLimit, least: int, most: int | None) -> int:
    if not limit.tokens:
        return 0
    if most is None:
        return max(least, min(least + ASSUMED_OUTPUT, limit.tokens)) if least else 0
    return least + most


def _wait(
    counter: _Counter, limit: RateLimit, need: int, now: int, *, asks: bool
) -> tuple[int, str] | None:
    """How long a call has to wait under one limit, and what for; None when it may pass.

    ``asks``: it is a request that is not counted yet.
    """
    if asks and limit.requests and counter.requests.used(now) >= limit.requests:
        return max(1, counter.requests.wait(now, limit.requests - 1)), "requests"
    if not limit.tokens:
        return None
    if need > limit.tokens:
        return NEVER, "tokens"
    if counter.tokens.used(now) + counter.held + max(need, 1) <= limit.tokens:
        return None
    room = limit.tokens - counter.held - max(need, 1)
    return (max(1, counter.tokens.wait(now, room)) if room >= 0 else _BUSY), "tokens"


def _refusal(wait: int, limit: RateLimit, kind: str, need: int) -> RateLimited:
    most = limit.requests if kind == "requests" else limit.tokens
    details: dict[str, Any] = {
        "limit": {"kind": kind, "value": most, "per": limit.per, "by": limit.by}
    }
    if wait == NEVER:
        return TooManyTokens(
            f"This call may use {need} tokens (one per byte of its body, and what it allows the"
            f" answer); the model's rate limit is {most} tokens per {limit.per} by {limit.by}."
            " Allow it fewer, send less, or raise the limit.",
            details=details,
        )
    seconds = wait / _SECOND
    reset = datetime.now(UTC) + timedelta(seconds=seconds)
    details["resetAt"] = reset.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return RateLimited(
        f"The model's rate limit of {most} {kind} per {limit.per} by {limit.by} is reached."
        f" There is room again in {seconds:.3g} s.",
        headers={
            "Retry-After": str(-(-wait // _SECOND)),
            "Retry-After-Ms": str(-(-wait // 1_000_000)),
        },
        details=details,
    )


def rate_fields(family: str, standing: Sequence[Standing], moment: datetime) -> dict[str, str]:
    """How a caller stands, in the header fields that the provider's own clients read.

    Args:
        family: how the provider is called, see ``ProviderApi``.
        standing: from ``RateLimits.standing``.
        moment: now.
    """
    fields: dict[str, str] = {}
    for one in standing:
        values = {"limit": str(one.limit), "remaining": str(one.remaining)}
        if family == "anthropic":
            reset = moment + timedelta(microseconds=-(-one.reset // 1000))
            values["reset"] = reset.strftime("%Y-%m-%dT%H:%M:%SZ")
            fields |= {f"{_ANTHROPIC}{one.kind}-{word}": text for word, text in values.items()}
        else:
            values["reset"] = _duration(one.reset)
            fields |= {f"{_OPENAI}{word}-{one.kind}": text for word, text in values.items()}
    return fields


def without_rate_fields(headers: Headers) -> Headers:
    """An answer's header fields without what the provider says of its own limits."""
    ours = (_OPENAI.encode(), _ANTHROPIC.encode())
    return [field for field in headers if not field[0].startswith(ours)]


def _duration(nanoseconds: int) -> str:
    """As OpenAI writes it: ``120ms``, ``1.5s``, ``6m0s``, ``1h0m0s``."""
    milliseconds = -(-nanoseconds // 1_000_000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    last = f"{seconds}.{rest:03d}".rstrip("0").rstrip(".") if rest else str(seconds)
    if hours:
        return f"{hours}h{minutes}m{last}s"
    return f"{minutes}m{last}s" if minutes else f"{last}s"
