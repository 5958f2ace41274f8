"""What a measurement says, and how it is printed."""

from typing import NamedTuple


class Row(NamedTuple):
    """One figure beside its baseline and, where there is one, the limit we set ourselves.

    Attributes:
        name: what was measured.
        value: our median.
        unit: of value and baseline.
        baseline: what it is compared with, by name, and its figure.
        ratio: value / baseline.
        goal: the bound in words; empty when there is none.
        met: whether the goal was met; ``None`` without one.
    """

    name: str
    value: float
    unit: str
    baseline: tuple[str, float] | None = None
    goal: str = ""
    met: bool | None = None

    @property
    def ratio(self) -> float | None:
        """Value over baseline."""
        return self.value / self.baseline[1] if self.baseline and self.baseline[1] else None


def show(title: str, rows: list[Row]) -> None:
    """Print one section."""
    print(f"\n{title}")
    for row in rows:
        baseline = ""
        if row.baseline and row.ratio is not None:
            name, value = row.baseline
            baseline = f"{name} {value:,.1f}, ratio {row.ratio:.2f}"
        verdict = {None: "", True: "met", False: "MISSED"}[row.met]
        goal = f"goal {row.goal}: {verdict}" if row.goal else ""
        print(f"  {row.name:44} {row.value:>10,.1f} {row.unit:6} {baseline:44} {goal}".rstrip())
