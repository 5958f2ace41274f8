"""What the gateway is held to, and whether it is met."""

from typing import NamedTuple


class Goal(NamedTuple):
    """A bound on one figure.

    Attributes:
        workload: by its name in ``workloads``.
        against: the target compared with; empty for a figure of Serai alone.
        limit: the bound.
        times_better: the bound is how many times less Serai uses, at least; else how many times
            as much, at most.
    """

    workload: str
    against: str
    limit: float
    times_better: bool = False

    def ratio(self, ours: float, theirs: float) -> float:
        """The figure that is bound."""
        return theirs / ours if self.times_better else ours / theirs

    def is_met(self, figure: float) -> bool:
        """Whether the figure is within the bound."""
        return figure >= self.limit if self.times_better else figure <= self.limit

    def words(self) -> str:
        """The bound, for people."""
        if self.times_better:
            return "less" if self.limit == 1 else f"at least {self.limit:g} times less"
        return f"at most {self.limit:g} times as much"


GOALS = (
    Goal("json", "nginx", 1.6),
    Goal("json", "nginx-lua", 1.2),
    Goal("json", "tensorzero", 3, times_better=True),
    Goal("json", "portkey", 20, times_better=True),
    Goal("json", "litellm", 200, times_better=True),
    Goal("stream", "nginx", 1.4),
    Goal("stream", "tensorzero", 1, times_better=True),
    Goal("stream", "portkey", 4, times_better=True),
    Goal("stream", "litellm", 50, times_better=True),
)
ADDED_MS = 0.3
"""Most that the gateway may add to the median time of a call of 50 ms, 4 at once."""

PACED_CORE = 0.30
"""Most of a core that 256 streams may take, with an event each 20 ms."""

GROWTH = 0.05
"""Most that resident memory may grow over 200,000 requests."""

LEAVE_MS = 100.0
"""Most that may pass from a client's leaving until its provider is told to stop."""

FLUSH_SECONDS = 1.0
"""The documented interval in which usage is written: what a crash may lose of it."""
