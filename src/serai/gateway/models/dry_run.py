"""What a token policy would have done to calls that were made.

The calls are gone through in the order in which they began. One that the policy lets through counts
when it ended, as it does when it is made; one that it refuses counts nothing. A strict policy sets
aside what a call really used: how much it might have used is not recorded, so in earnest such a
policy refuses more.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from serai.gateway.models.token_policies import Reached, TokenPolicy


class MadeCall(NamedTuple):
    """A call that was made; times are seconds since 1970."""

    began: float
    ended: float
    model: str
    resource_id: str
    request_id: str
    received: int
    sent: int


class Verdict(NamedTuple):
    """What would have become of a call: the limit that refuses it, and when its window ends."""

    call: MadeCall
    reached: Reached | None
    reset: float


class _Model:
    """The counts of one model, by the beginning of their window, and its calls under way."""

    def __init__(self) -> None:
        self.counts: dict[float, list[int]] = defaultdict(lambda: [0, 0])
        self.running: list[tuple[float, int, int]] = []
        self.held = [0, 0]

    def end_until(self, moment: float, policy: TokenPolicy) -> None:
        """Count what has ended."""
        while self.running and self.running[0][0] <= moment:
            ended, received, sent = heapq.heappop(self.running)
            count = self.counts[policy.window(ended)[0]]
            count[0] += received
            count[1] += sent
            self.held[0] -= received
            self.held[1] -= sent

    def begin(self, call: MadeCall) -> None:
        """A call was let through."""
        heapq.heappush(self.running, (call.ended, call.received, call.sent))
        self.held[0] += call.received
        self.held[1] += call.sent


def dry_run(policy: TokenPolicy, calls: Iterable[MadeCall]) -> Iterable[Verdict]:
    """What the policy, alone, would have decided about calls, which come in order."""
    models: dict[str, _Model] = defaultdict(_Model)
    for call in calls:
        model = models[call.resource_id]
        model.end_until(call.began, policy)
        begin, end = policy.window(call.began)
        received, sent = model.counts[begin]
        held = model.held
        set_aside = held[0] + call.received, held[1] + call.sent
        reached = policy.reached(received, sent, set_aside)
        if reached is None:
            model.begin(call)
        yield Verdict(call, reached, end)
