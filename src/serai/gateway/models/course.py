"""The course of one model call: which place is tried next, after what pause, and when it ends.

Decisions only: nothing here knows of connections or tasks. The caller begins an attempt where it is
told to, and says how it failed.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from random import Random

import msgspec

from serai.gateway.models.health import Health
from serai.gateway.models.verdicts import Outcome, Verdict
from serai.gateway.routes import ModelRoute

BACKOFF_MS = 250
LONGEST_BACKOFF_MS = 8000


class Next(msgspec.Struct, frozen=True, gc=False):
    """The next attempt: where, and after how many seconds."""

    place: ModelRoute
    pause: float = 0.0


class _Stage:
    """The attempts at one model: how many are left, and where it was tried in vain.

    Attributes:
        places: where it can be called.
        left: attempts that may still be made, after the first.
        not_before: by place that was tried, when its provider lets us ask again.
    """

    def __init__(self, route: ModelRoute) -> None:
        self.places: Sequence[ModelRoute] = route.places or (route,)
        retries = route.gateway.retries
        # without retries each connection is asked once, as that is what several are for
        self.left = len(self.places) if retries is None else 1 + (retries.attempts or 0)
        self.not_before: dict[str, float] = {}
        self._repeats = retries is not None
        self._begun = 0
        self._tried: set[str] = set()
        first = (retries and retries.backoff_ms) or BACKOFF_MS
        longest = (retries and retries.max_backoff_ms) or LONGEST_BACKOFF_MS
        self._first, self._longest = min(first, longest) / 1000, longest / 1000

    def begin(self, place: ModelRoute, pause: float = 0.0) -> Next:
        """Count an attempt there."""
        self.left -= 1
        self._begun += 1
        self._tried.add(place.place)
        self.not_before.pop(place.place, None)
        return Next(place, pause)

    def note(self, place: ModelRoute, outcome: Outcome, now: float) -> None:
        """An attempt there has failed. Who asks for more time than we have is not asked again."""
        wait = outcome.wait or 0.0
        if outcome.verdict is Verdict.AGAIN and wait <= self._longest:
            self.not_before[place.place] = now + wait

    def untried(self) -> list[ModelRoute]:
        """Places that this call has not been sent to yet."""
        return [place for place in self.places if place.place not in self._tried]

    def open(self) -> list[ModelRoute]:
        """Places that have failed and may be tried again."""
        if not self._repeats:
            return []
        return [place for place in self.places if place.place in self.not_before]

    def pause(self, place: ModelRoute, now: float, random: Random) -> float:
        """Seconds before another attempt there: exponential backoff with full jitter, and no
        less than the provider asks for."""
        bound = min(self._longest, self._first * math.pow(2.0, min(self._begun - 1, 30)))
        return max(random.uniform(0.0, bound), self.not_before[place.place] - now)


class Course:
    """The attempts of one call.

    Args:
        models: the model that was called, then those to fall back on.
        admits: whether a call of a model may be made now; asked just before it is.
        health: how the places do.
        ends: when the call must be answered, by the clock of ``now``.
        random: spreads the pauses.
    """

    def __init__(
        self,
        models: Iterator[ModelRoute],
        admits: Callable[[ModelRoute], bool],
        health: Health,
        ends: float,
        random: Random,
    ) -> None:
        self._models = models
        self._admits = admits
        self._health = health
        self._ends = ends
        self._random = random
        self._resting: list[ModelRoute] = []
        self._stage: _Stage = None  # type: ignore[assignment]

    def first(self) -> ModelRoute | None:
        """The place of the first attempt; None when no model admits the call."""
        found = self._next_model()
        return None if found is None else found.place

    def after(self, place: ModelRoute, outcome: Outcome, now: float) -> Next | None:
        """What comes after an attempt that failed; None when the call has failed with it."""
        if outcome.verdict is Verdict.FINAL or now >= self._ends:
            return None
        self._stage.note(place, outcome, now)
        return self._same_model(now) or self._next_model()

    def _same_model(self, now: float) -> Next | None:
        """Another attempt at the same model: at once where it was not tried yet."""
        stage = self._stage
        if stage.left <= 0:
            return None
        untried = stage.untried()
        awake = [place for place in untried if not self._health.rests(place)]
        if awake:
            return stage.begin(self._health.choose(awake))
        known = stage.open()
        if known:
            place = min(known, key=lambda each: stage.not_before[each.place])
            pause = stage.pause(place, now, self._random)
            return stage.begin(place, pause) if now + pause < self._ends else None
        return stage.begin(self._health.choose(untried)) if untried else None

    def _next_model(self) -> Next | None:
        """The first attempt at the next model. One whose places all rest is left for the end."""
        while (route := self._candidate()) is not None:
            if self._admits(route):
                self._stage = _Stage(route)
                return self._stage.begin(self._health.choose(self._stage.places))
        return None

    def _candidate(self) -> ModelRoute | None:
        for route in self._models:
            if not all(self._health.rests(place) for place in route.places or (route,)):
                return route
            self._resting.append(route)
        return self._resting.pop(0) if self._resting else None
