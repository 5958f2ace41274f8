"""How places do at which a model can be called: calls under way, failures, and cool-downs.

A place is one connection of one model. After some failures in a row it is left alone for a while
(it cools down). Then one call tries it: an answer makes it a place like any other, a failure lets
it cool down again. Where every place cools down, calls are made all the same: a refusal would help
nobody.
"""

import time
from collections.abc import Callable, Sequence
from random import Random

from serai.gateway.models.verdicts import Outcome
from serai.gateway.routes import ModelRoute

FAILURES = 3
COOL_DOWN_SECONDS = 30.0
MOST_PLACES = 4096
"""With more of them, those are forgotten that have failed and do not rest."""
LONGEST_COOL_DOWN = 3600.0
"""Bound of what a provider's ``Retry-After`` can ask for, in seconds."""


class _State:
    """What is known of one place; nothing when all is at rest."""

    __slots__ = ("failures", "trial", "until", "working")

    def __init__(self) -> None:
        self.working = 0
        self.failures = 0
        self.until = 0.0
        """When its cool-down ends; 0 when it is well."""
        self.trial: Lease | None = None
        """The one call that tries it after its cool-down."""


class Lease:
    """One attempt under way at a place; ended exactly once."""

    __slots__ = ("_health", "_state", "route")

    def __init__(self, health: "Health", state: _State, route: ModelRoute) -> None:
        self._health = health
        self._state: _State | None = state
        self.route = route

    def well(self) -> None:
        """The place answers."""
        state = self._state
        if state is not None:
            state.failures, state.until, state.trial = 0, 0.0, None

    def failed(self, outcome: Outcome) -> None:
        """The place has failed; ends the lease."""
        state = self._state
        if state is not None:
            self._health.note_failure(state, self.route, outcome, tried=state.trial is self)
            self.end()

    def end(self) -> None:
        """The attempt is over."""
        state, self._state = self._state, None
        if state is None:
            return
        state.working -= 1
        if state.trial is self:
            state.trial = None
        self._health.tidy(self.route, state)


class Health:
    """The state of every place that is not at rest.

    Args:
        clock: seconds that only rise.
        random: draws places.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, random: Random | None = None
    ) -> None:
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - spreads load
        self._states: dict[str, _State] = {}

    def working(self) -> int:
        """How many attempts are under way."""
        return sum(state.working for state in self._states.values())

    def begin(self, route: ModelRoute) -> Lease:
        """An attempt at this place begins."""
        state = self._states.get(route.place)
        if state is None:
            if len(self._states) >= MOST_PLACES:
                self._sweep()
            state = self._states[route.place] = _State()
        state.working += 1
        lease = Lease(self, state, route)
        if state.until and state.trial is None and self._clock() >= state.until:
            state.trial = lease
        return lease

    def rests(self, route: ModelRoute) -> bool:
        """Whether a place is left alone: it cools down, or is being tried by another call."""
        state = self._states.get(route.place)
        if state is None or not state.until:
            return False
        return state.trial is not None or self._clock() < state.until

    def choose(self, places: Sequence[ModelRoute]) -> ModelRoute:
        """The place for the next attempt.

        Two places are drawn by weight, and the second is taken only if it has fewer calls under way
        for its weight. So while little goes on each gets its share, and under load the one that
        answers faster gets more, without all calls running to the one that happens to be idle.
        Spare places (of weight 0) serve while all others rest; where all rest, the one does whose
        cool-down ends first.
        """
        awake = [place for place in places if not self.rests(place)]
        if not awake:
            return min(places, key=self._until)
        weighted = [place for place in awake if place.weight > 0]
        if not weighted:
            return min(awake, key=self._load)
        if len(weighted) == 1:
            return weighted[0]
        weights = [place.weight for place in weighted]
        first, second = self._random.choices(weighted, weights, k=2)
        return second if self._load(second) < self._load(first) else first

    def _until(self, place: ModelRoute) -> float:
        state = self._states.get(place.place)
        return 0.0 if state is None else state.until

    def _load(self, place: ModelRoute) -> float:
        state = self._states.get(place.place)
        return 0.0 if state is None else state.working / max(1, place.weight)

    def note_failure(
        self, state: _State, route: ModelRoute, outcome: Outcome, *, tried: bool
    ) -> None:
        """Count a failure, and let the place cool down when it is time."""
        state.failures += 1
        balance = route.gateway.balance
        limit = (balance and balance.failures) or FAILURES
        pause = min(outcome.wait or 0.0, LONGEST_COOL_DOWN)
        if tried or state.failures >= limit:
            pause = max(pause, float((balance and balance.cool_down_seconds) or COOL_DOWN_SECONDS))
        if pause:
            state.until = max(state.until, self._clock() + pause)

    def tidy(self, route: ModelRoute, state: _State) -> None:
        """Forget a place that is at rest."""
        idle = not state.working and not state.failures and not state.until
        if idle and self._states.get(route.place) is state:
            del self._states[route.place]

    def _sweep(self) -> None:
        """Forget places that nobody is at and that need not rest, for some may be no more."""
        now = self._clock()
        for name, state in list(self._states.items()):
            if not state.working and state.until <= now:
                del self._states[name]
