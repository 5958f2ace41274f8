"""The loads, and the rounds in which the targets take their turns."""

import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.gateway.load import Failed, Sample, load
from bench.gateway.targets import Target
from bench.gateway.tools import Tools


class Workload(NamedTuple):
    """One kind of load.

    Attributes:
        name: to choose it by.
        title: what it is, for people.
        lane: how the upstream answers, see ``Origin``.
        connections: at once, in a closed loop.
        seconds: of one turn.
        slow: takes this many times longer with targets of which a turn would see few requests.
        only: the targets it is for; empty for all.
    """

    name: str
    title: str
    lane: str
    connections: int
    seconds: float
    slow: float = 1.0
    only: tuple[str, ...] = ()


WORKLOADS = (
    Workload("json", "JSON, 64 connections", "json", 64, 2, slow=4),
    Workload("stream", "Stream of 52 events, 16 connections", "stream", 16, 2, slow=4),
    Workload(
        "stream64",
        "Stream of 52 events, 64 connections",
        "stream",
        64,
        2,
        only=("serai", "nginx", "nginx-lua"),
    ),
    Workload("slow", "JSON after 50 ms, 4 connections", "slow", 4, 3),
    Workload("paced", "256 streams, an event each 20 ms", "paced", 256, 6, only=("serai", "nginx")),
)
_SLOW = ("portkey", "litellm")
_WARM_REQUESTS = {"portkey": 10_000, "litellm": 100}

Samples = dict[str, dict[str, list[Sample]]]
"""By workload and target, one of each round."""


class Runner(NamedTuple):
    """Loads the targets that are up.

    Attributes:
        tools: programs.
        folder: for scratch files.
        targets: by name.
        quick: one second a turn.
        direct: the upstream itself, for the time without any gateway.
    """

    tools: Tools
    folder: Path
    targets: dict[str, Target]
    quick: bool
    direct: Target | None = None

    def warm(self) -> None:
        """Load each target until it is as fast as it gets; one that fails is left out."""
        for name in list(self.targets):
            wanted = 200 if self.quick else _WARM_REQUESTS.get(name, 500)
            self._try(name, lambda name=name, wanted=wanted: self._warm(name, wanted))  # type: ignore[misc]

    def _warm(self, name: str, wanted: int) -> None:
        done = 0
        while done < wanted:
            seconds, connections = (10, 8) if name in _SLOW else (1, 64)
            target = self.targets[name]
            done += load(self.tools, target, "json", connections, seconds, self.folder).requests

    def _try(self, name: str, step: Callable[[], None]) -> None:
        try:
            step()
        except Failed as reason:
            self.targets.pop(name, None)
            say(f"{name} is left out: {reason}")

    def rounds(self, workloads: list[Workload], count: int) -> Samples:
        """Every workload, ``count`` rounds, in each round every target once.

        A target that fails a workload is left out of it.
        """
        found: Samples = {}
        for workload in workloads:
            found[workload.name] = self._rounds(workload, count)
        return found

    def _rounds(self, workload: Workload, count: int) -> dict[str, list[Sample]]:
        names = [name for name in self.targets if not workload.only or name in workload.only]
        samples: dict[str, list[Sample]] = {name: [] for name in names}
        for number in range(count):
            say(f"{workload.title}: round {number + 1} of {count}")
            for name in [name for name in names if name in samples]:
                try:
                    samples[name].append(self._turn(name, workload))
                except Failed as reason:
                    del samples[name]
                    say(f"{name} fails at '{workload.title}': {reason}")
            if workload.name == "slow" and self.direct is not None:
                sample = load(self.tools, self.direct, "slow", 4, 1, self.folder)
                samples.setdefault("direct", []).append(sample)
        return samples

    def _turn(self, name: str, workload: Workload) -> Sample:
        seconds = workload.seconds * (workload.slow if name in _SLOW else 1.0)
        if self.quick:
            seconds = 8 if name in _SLOW else 2 if workload.name == "paced" else 1
        target = self.targets[name]
        return load(self.tools, target, workload.lane, workload.connections, seconds, self.folder)


def median_ratio(
    ours: list[Sample], theirs: list[Sample], figure: Callable[[Sample, Sample], float]
) -> float:
    """Median over the rounds of a figure of both targets of a round."""
    return statistics.median(figure(a, b) for a, b in zip(ours, theirs, strict=True))


def say(line: str) -> None:
    """Tell how far it is, beside the result."""
    print(line, file=sys.stderr, flush=True)
