"""Counts and distributions of model calls, added up without a library and rendered when asked for.

An observation of ``prometheus_client`` costs more than most of what the gateway does for a call, so
its part is only the rendering (see decision 32).
"""

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

MOST_SERIES = 2_000
"""Models with numbers of their own; calls of further ones are added up under empty names."""
MOST_CODES = 50
"""Error codes of one model that are told apart."""
OTHER = "other"
LAG_INTERVAL = 0.5

SECONDS: tuple[float, ...] = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0),
)
"""Bounds of durations."""
TOKENS = tuple(4.0**power for power in range(14))
"""Bounds of tokens, as OpenTelemetry's conventions for generative AI advise."""

Key = tuple[str, str, str, str]
"""Workspace, model, provider and operation."""
NOBODY: Key = ("", "", "", OTHER)


class Distribution:
    """How many observations lie up to each bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """One more observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants it; the last is ``+Inf``."""
        found, running = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            found.append((bound, float(running)))
        return found


class ModelSeries:
    """The numbers of one model in one operation."""

    __slots__ = (
        "attempts",
        "cache",
        "cached_tokens",
        "duration",
        "errors",
        "first_byte",
        "input",
        "output",
        "reasoning_tokens",
        "refusals",
        "statuses",
    )

    def __init__(self) -> None:
        self.statuses: dict[int, int] = defaultdict(int)
        self.errors: dict[tuple[str, str], int] = defaultdict(int)
        self.refusals: dict[str, int] = defaultdict(int)
        self.cache: dict[str, int] = defaultdict(int)
        self.duration = Distribution(SECONDS)
        self.first_byte = Distribution(SECONDS)
        self.input = Distribution(TOKENS)
        self.output = Distribution(TOKENS)
        self.cached_tokens = self.reasoning_tokens = self.attempts = 0

    def refused(self, code: str) -> None:
        """A call was refused before it was sent."""
        known = code in self.refusals or len(self.refusals) < MOST_CODES
        self.refusals[code if known else OTHER] += 1

    def failed(self, code: str, origin: str) -> None:
        """A call that was sent ended with an error."""
        key = (code, origin)
        if key not in self.errors and len(self.errors) >= MOST_CODES:
            key = (OTHER, origin)
        self.errors[key] += 1


class ModelMetrics:
    """Every series by its key. From the event loop's thread only."""

    def __init__(self) -> None:
        self.series: dict[Key, ModelSeries] = {}

    def of(self, workspace: str, model: str, provider: str, operation: str) -> ModelSeries:
        """The series of a model in an operation."""
        key = (workspace, model, provider, operation)
        found = self.series.get(key)
        if found is None:
            if len(self.series) >= MOST_SERIES:
                key = NOBODY
            found = self.series.setdefault(key, ModelSeries())
        return found

    def forget(self, workspace: str, model: str) -> None:
        """A model was deleted; its name, and its workspace's, may be somebody else's tomorrow."""
        for key in [key for key in self.series if key[:2] == (workspace, model)]:
            del self.series[key]

    def seen(self, workspaces: Iterable[str] | None) -> Iterator[tuple[Key, ModelSeries]]:
        """Series of these workspaces; all of them for ``None``."""
        chosen = None if workspaces is None else frozenset(workspaces)
        for key, series in list(self.series.items()):
            if chosen is None or key[0] in chosen:
                yield key, series


class LoopLag:
    """How late the event loop's timers are: a distribution, and the longest since last asked."""

    def __init__(self) -> None:
        self.distribution = Distribution(SECONDS)
        self._longest = 0.0

    def note(self, late: float) -> None:
        """A timer fired so many seconds after it was due."""
        self.distribution.add(late)
        self._longest = max(self._longest, late)

    def take_longest(self) -> float:
        """The longest since the last call."""
        longest, self._longest = self._longest, 0.0
        return longest

    async def watch(self) -> None:
        """Measure for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_INTERVAL
            await asyncio.sleep(LAG_INTERVAL)
            self.note(max(0.0, loop.time() - due))
