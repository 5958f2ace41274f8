"""What a failed attempt at a model call means: try again, try elsewhere, or tell the client."""

import email.utils
import math
import time
from enum import Enum, auto

import msgspec

from serai.gateway.problems import (
    OF_PROVIDER,
    ProviderCredentialsRefused,
    UpstreamConnectFailed,
    UpstreamConnectTimeout,
)
from serai.gateway.routes import ModelRoute
from serai.gateway.upstream import Answer
from serai.kernel.errors import SeraiError, ServiceUnavailable

_UNSENT = (UpstreamConnectFailed, UpstreamConnectTimeout)
_OF_PLACE = frozenset({401, 402, 403, 404})
"""The place lacks what it needs: a valid key, credit, the right or the model itself."""

_TURNED_AWAY = frozenset({401, 403, 429})


class Verdict(Enum):
    """What a failure means for the call."""

    FINAL = auto()
    """Any place would answer so: it is the caller's fault, or ours."""
    AGAIN = auto()
    """It may pass: the same place may answer a moment later."""
    ELSEWHERE = auto()
    """The place will not answer; another one may."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How an attempt failed.

    Attributes:
        verdict: what it means.
        wait: seconds that the provider asks to wait; None when it does not.
        unsent: nothing of the request was carried out: no connection, or it was turned away.
    """

    verdict: Verdict
    wait: float | None = None
    unsent: bool = False


FINAL = Outcome(Verdict.FINAL)


def of_problem(problem: SeraiError) -> Outcome:
    """What it means that we could not get an answer."""
    if isinstance(problem, ProviderCredentialsRefused | ServiceUnavailable):
        return Outcome(Verdict.ELSEWHERE, unsent=True)
    if isinstance(problem, OF_PROVIDER):
        return Outcome(Verdict.AGAIN, unsent=isinstance(problem, _UNSENT))
    return FINAL


def of_answer(answer: Answer, route: ModelRoute) -> Outcome:
    """What an error answer means, by its status and what the provider says of a repetition."""
    status, retries = answer.status, route.gateway.retries
    named = None if retries is None else retries.on
    passes = route.api.worth_another(status)
    again = passes if named is None else status in named
    said = answer.index.get(b"x-should-retry", b"").strip().lower()
    if said in (b"true", b"false"):
        again = said == b"true"
    if not again and not passes and status not in _OF_PLACE:
        return FINAL
    verdict = Verdict.AGAIN if again else Verdict.ELSEWHERE
    return Outcome(verdict, retry_after(answer.index), unsent=status in _TURNED_AWAY)


def retry_after(index: dict[bytes, bytes]) -> float | None:
    """Seconds that an answer's fields ask to wait: ``retry-after-ms``, else ``Retry-After``."""
    for name, unit in ((b"retry-after-ms", 1000.0), (b"retry-after", 1.0)):
        value = index.get(name)
        seconds = None if value is None else _seconds(value, unit)
        if seconds is not None:
            return seconds
    date = email.utils.parsedate_tz(index.get(b"retry-after", b"").decode("latin-1"))
    if date is None:
        return None
    try:
        return max(0.0, email.utils.mktime_tz(date) - time.time())
    except (ValueError, OverflowError):
        return None


def _seconds(value: bytes, unit: float) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return None if math.isnan(number) else max(0.0, number / unit)
