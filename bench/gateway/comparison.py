"""One run: everything is started, loaded in turns, and judged."""

import contextlib
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench.gateway.goals import FLUSH_SECONDS, GROWTH, LEAVE_MS
from bench.gateway.lasting import growth, loss
from bench.gateway.leaving import leaving
from bench.gateway.load import Failed
from bench.gateway.origin import Origin, origin
from bench.gateway.report import Line, alone, compared
from bench.gateway.targets import LANES, TARGETS, Target
from bench.gateway.tools import Tools, debian_tools
from bench.gateway.workloads import WORKLOADS, Runner, Samples, Workload, say
from bench.platform import Skipped

_CRASHES = (1.3, 1.9, 2.6)
"""Seconds of load before each kill -9."""


class Result(NamedTuple):
    """What a run has found.

    Attributes:
        conditions: the machine and its load.
        lines: the table's.
        samples: everything that was measured in rounds.
    """

    conditions: str
    lines: list[Line]
    samples: Samples


class Comparison:
    """A run over some targets and workloads.

    Args:
        targets: names out of ``TARGETS``; ``serai`` is always one.
        chosen: names of workloads, ``leave``, ``memory`` and ``crash``.
        rounds: how many.
        quick: one short round.
    """

    def __init__(self, targets: list[str], chosen: list[str], rounds: int, *, quick: bool) -> None:
        self._names = [name for name in TARGETS if name in {*targets, "serai"}]
        self._chosen = chosen
        self._rounds = 1 if quick else rounds
        self._quick = quick

    def run(self) -> Result:
        """Measure.

        Raises:
            Skipped: nginx or wrk is missing.
        """
        tools = debian_tools()
        with contextlib.ExitStack() as stack:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="serai-bench-"))
            folder = Path(name)
            behind = stack.enter_context(origin(tools, folder))
            runner = self._start(stack, tools, behind, folder)
            runner.warm()
            samples = runner.rounds(self._workloads(tools), self._rounds)
            lines = [*compared(samples), *alone(samples), *self._lasting(runner)]
        return Result(_conditions(), lines, samples)

    def _start(
        self, stack: contextlib.ExitStack, tools: Tools, behind: Origin, folder: Path
    ) -> Runner:
        targets = {}
        for name in self._names:
            target = self._enter(stack, name, tools, behind, folder)
            if target is not None:
                targets[name] = target
        direct = Target(
            os.getpid(),
            behind.slow,
            dict.fromkeys(LANES, "/v1/chat/completions"),
            dict.fromkeys(LANES, "m"),
            {lane: {} for lane in LANES},
        )
        return Runner(tools, folder, targets, self._quick, direct if behind.slow else None)

    def _enter(
        self, stack: contextlib.ExitStack, name: str, tools: Tools, behind: Origin, folder: Path
    ) -> Target | None:
        """Start a target; once more where its port was taken by somebody else meanwhile."""
        for is_last in (False, True):
            say(f"starting {name}")
            try:
                return stack.enter_context(TARGETS[name](tools, behind, folder))
            except (Skipped, RuntimeError, OSError) as reason:
                say(f"{name} did not start: {reason}")
                if is_last or isinstance(reason, Skipped):
                    break
        say(f"{name} is left out")
        return None

    def _workloads(self, tools: Tools) -> list[Workload]:
        chosen = [workload for workload in WORKLOADS if workload.name in self._chosen]
        if tools.lua is None:
            say("nginx's Lua module is missing: no streams and no slow upstream")
            chosen = [workload for workload in chosen if workload.lane == "json"]
        return chosen

    def _lasting(self, runner: Runner) -> list[Line]:
        lines = []
        serai = runner.targets.get("serai")
        if serai is None:
            return []
        try:
            if "leave" in self._chosen:
                lines.append(self._leave(serai))
            if "memory" in self._chosen:
                lines.append(self._memory(runner, serai))
            if "crash" in self._chosen:
                lines.append(self._crash(serai))
        except Failed as reason:
            say(f"serai failed: {reason}")
        return lines

    def _leave(self, serai: Target) -> Line:
        say("clients that leave")
        found = sorted(1000 * seconds for seconds in leaving(serai, 2 if self._quick else 25))
        worst = found[-1]
        what = f"Longest until the provider of a client that left was told (of {len(found)} calls)"
        figure = f"{worst:.1f} ms (median {found[len(found) // 2]:.1f})"
        return Line(what, "serai", figure, f"at most {LEAVE_MS:g} ms", worst <= LEAVE_MS)

    def _memory(self, runner: Runner, serai: Target) -> Line:
        wanted = 2_000 if self._quick else 200_000
        say(f"memory over {wanted:,} requests")
        growth(runner.tools, serai, wanted // 10, runner.folder)
        before, after, done = growth(runner.tools, serai, wanted, runner.folder)
        grown = after / before - 1
        what = f"Growth of resident memory ({before:.0f} MB) over {done:,} requests"
        return Line(what, "serai", f"{grown:.1%}", f"less than {GROWTH:.0%}", grown < GROWTH)

    def _crash(self, serai: Target) -> Line:
        say("kill -9 under load")
        found = [loss(serai, seconds) for seconds in _CRASHES[: 1 if self._quick else None]]
        worst = max(found, key=lambda one: one.age)
        what = f"Age of the oldest usage that kill -9 lost (of {worst.answered:,} calls)"
        goal = f"at most {FLUSH_SECONDS:g} s, the flush interval"
        return Line(what, "serai", f"{worst.age:.2f} s", goal, worst.age <= FLUSH_SECONDS)


def _conditions() -> str:
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        models = [
            line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line
        ]
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        return (
            f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores,"
            f" Python {platform.python_version()} ({sys.implementation.name}); load at the end"
            f" {load} (1, 5 and 15 minutes)."
        )
    return platform.platform()
