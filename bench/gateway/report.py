"""The table: ratios beside their goals, then what every target took."""

import statistics
from collections.abc import Iterator

from bench.gateway.goals import ADDED_MS, GOALS, PACED_CORE, Goal
from bench.gateway.load import Sample
from bench.gateway.workloads import WORKLOADS, Samples, median_ratio
from bench.report import Row

_TITLES = {workload.name: workload.title for workload in WORKLOADS}


class Line:
    """One line of the table.

    Attributes:
        what: what was measured.
        against: what it is compared with; empty for a figure of Serai alone.
        figure: it, for people.
        goal: the bound, for people; empty without one.
        met: whether it is within the bound.
    """

    def __init__(self, what: str, against: str, figure: str, goal: str, met: bool | None) -> None:
        self.what, self.against, self.figure = what, against, figure
        self.goal, self.met = goal, met

    def cells(self) -> list[str]:
        """The line's cells."""
        verdict = {True: "met", False: "MISSED", None: ""}[self.met]
        return [self.what, self.against, self.figure, self.goal, verdict]


def compared(samples: Samples) -> Iterator[Line]:
    """Lines on CPU time against other targets; of targets that did not run there are none."""
    bound = {(goal.workload, goal.against): goal for goal in GOALS}
    for workload, taken in samples.items():
        ours = taken.get("serai")
        if workload in ("slow", "paced") or not ours:
            continue
        for name, theirs in taken.items():
            if name != "serai":
                goal = bound.get((workload, name))
                yield _line(workload, name, goal, ours, theirs)


def _line(
    workload: str, name: str, goal: Goal | None, ours: list[Sample], theirs: list[Sample]
) -> Line:
    shown = goal or Goal(workload, name, 0)
    ratio = median_ratio(ours, theirs, lambda a, b: shown.ratio(a.cpu_us, b.cpu_us))
    figure = f"{ratio:.1f} times less" if shown.times_better else f"{ratio:.2f} times as much"
    what = f"CPU per request: {_TITLES[workload]}"
    if goal is None:
        return Line(what, name, figure, "", None)
    return Line(what, name, figure, goal.words(), goal.is_met(ratio))


def alone(samples: Samples) -> Iterator[Line]:
    """Lines on added time, and on paced streams."""
    slow = samples.get("slow", {})
    direct = slow.get("direct", [])
    for name, theirs in slow.items():
        if name != "direct" and direct:
            added = median_ratio(theirs, direct, lambda a, b: a.p50_ms - b.p50_ms)
            ours = name == "serai"
            goal = f"at most {ADDED_MS} ms" if ours else ""
            met = added <= ADDED_MS if ours else None
            yield Line("Added to the median of a call of 50 ms", name, f"{added:.2f} ms", goal, met)
    for name, theirs in samples.get("paced", {}).items():
        core = statistics.median(sample.core for sample in theirs)
        ours = name == "serai"
        goal = f"at most {PACED_CORE:.0%}" if ours else ""
        met = core <= PACED_CORE if ours else None
        what = "256 streams, an event each 20 ms: share of a core"
        yield Line(what, name, f"{core:.0%}", goal, met)


def table(lines: list[Line]) -> str:
    """The lines as a Markdown table."""
    head = ["", "against, or of", "measured", "goal", ""]
    return _markdown([head, *(line.cells() for line in lines)])


def details(samples: Samples) -> str:
    """Medians of every target as a Markdown table."""
    rows = [["", "target", "rounds", "CPU us a request", "req/s", "p50 ms", "p99 ms"]]
    for workload, taken in samples.items():
        for name, found in taken.items():
            if found:
                figures = _figures(found)
                if name == "direct":  # the upstream alone: no target spends anything
                    figures[0] = ""
                rows.append([_TITLES[workload], name, str(len(found)), *figures])
    return _markdown(rows)


def _figures(found: list[Sample]) -> list[str]:
    cpu = statistics.median(sample.cpu_us for sample in found)
    rate = statistics.median(sample.rate for sample in found)
    p50 = statistics.median(sample.p50_ms for sample in found)
    p99 = statistics.median(sample.p99_ms for sample in found)
    return [f"{cpu:,.1f}", f"{rate:,.0f}", f"{p50:.2f}", f"{p99:.2f}"]


def _markdown(rows: list[list[str]]) -> str:
    rows = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def as_rows(samples: Samples) -> list[Row]:
    """The same against nginx for `make bench`."""
    rows = []
    for workload, taken in samples.items():
        ours, theirs = taken.get("serai"), taken.get("nginx")
        if not ours or not theirs:
            continue
        goal = next((g for g in GOALS if (g.workload, g.against) == (workload, "nginx")), None)
        ratio = median_ratio(ours, theirs, lambda a, b: a.cpu_us / b.cpu_us)
        value = statistics.median(sample.cpu_us for sample in ours)
        rows.append(
            Row(
                f"{_TITLES[workload]}, CPU",
                value,
                "us",
                ("nginx", value / ratio),
                f"{goal.limit:g} times nginx" if goal else "",
                goal.is_met(ratio) if goal else None,
            )
        )
    return rows
