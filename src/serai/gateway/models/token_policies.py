"""Policies of type ``maxToken``: how many tokens a model may handle in a window of time.

Windows are aligned to the clock in UTC: a policy of 15 minutes begins anew at 00, 15, 30 and 45.
Tokens are known when a call ends, so the call that passes a limit is still answered and the ones
after it are refused until the window ends, as the contract has it. A ``strict`` policy (our
extension) reserves the most that a call can use before it is sent, and gives back what was not
used: it is never passed. Of several policies of a model it is enough that one allows the call.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from serai.gateway.models.estimates import Reservation
from serai.gateway.usage import ModelUsage
from serai.identity.principal import Principal
from serai.kernel.background import Background
from serai.kernel.errors import SeraiError

if TYPE_CHECKING:
    from serai.gateway.gateway import Gateway
    from serai.gateway.routes import ModelRoute

_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}

Used = Callable[[str, float], Awaitable[tuple[int, int]]]
"""``used(resource_id, since)``: input and output tokens counted before now."""


class PolicyViolated(SeraiError):
    """A policy of the model refuses the call for now (429)."""

    status = 429
    code = "POLICY_VIOLATION"


class Reached(NamedTuple):
    """A limit that is reached: of what, how much, what is used of it, and how that is said."""

    name: str
    limit: int
    used: int
    words: str

    def told(self) -> dict[str, Any]:
        """It, as a refusal tells it."""
        return {"tokens": self.name, "value": self.limit, "used": self.used}


class TokenPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of tokens in a window of ``step`` times ``granularity``; 0 is no limit.

    ``ratio`` is how many input tokens there may be for each output token.
    """

    name: str
    granularity: str
    step: int = 1
    input: int = 0
    output: int = 0
    total: int = 0
    ratio: int = 0
    strict: bool = False

    def window(self, moment: float) -> tuple[float, float]:
        """Begin and end of the window that a moment (seconds since 1970) lies in."""
        if self.granularity == "month":
            date = datetime.fromtimestamp(moment, UTC)
            first = (date.year * 12 + date.month - 1) // self.step * self.step
            return _month(first), _month(first + self.step)
        length = _SECONDS[self.granularity] * self.step
        begin = moment // length * length
        return begin, begin + length

    def spent(self, received: int, sent: int) -> Reached | None:
        """The first limit that these tokens reach. A ratio is reached when it is passed."""
        total = received + sent
        if not (0 < self.input <= received or 0 < self.output <= sent or 0 < self.total <= total):
            return self.unbalanced(received, sent) if self.ratio else None
        for name, limit, used in self._limits(received, sent):
            if limit and used >= limit:
                return _reached(name, limit, used)
        return self.unbalanced(received, sent)

    def passed(self, received: int, sent: int) -> Reached | None:
        """The first limit that these tokens would pass; a ratio is none that can be foreseen."""
        for name, limit, used in self._limits(received, sent):
            if limit and used > limit:
                return _reached(name, limit, used)
        return None

    def reached(
        self, received: int, sent: int, set_aside: tuple[int, int] | None
    ) -> Reached | None:
        """The limit that refuses a call.

        Args:
            received: input tokens that count.
            sent: output tokens that count.
            set_aside: both, as they may still be used by calls under way and by this one; None
                where the call does not say what it may use.
        """
        if not self.strict or set_aside is None:
            return self.spent(received, sent)
        least, most = set_aside
        return self.passed(received + least, sent + most) or self.unbalanced(received, sent)

    def _limits(self, received: int, sent: int) -> Iterable[tuple[str, int, int]]:
        yield "input", self.input, received
        yield "output", self.output, sent
        yield "total", self.total, received + sent

    def unbalanced(self, received: int, sent: int) -> Reached | None:
        """The ratio, if these tokens pass it."""
        if not self.ratio or received <= self.ratio * sent:
            return None
        words = f"at most {self.ratio} input tokens per output token"
        return Reached("ratioInputOverOutput", self.ratio, -(-received // max(sent, 1)), words)


def policy_of(name: str, spec: dict[str, Any]) -> TokenPolicy | None:
    """The limits of a policy's spec; None when it limits no tokens of models."""
    kinds = spec.get("resourceTypes") or ["model"]
    if spec["type"] != "maxToken" or "model" not in kinds:
        return None
    limits = spec["maxTokens"]
    return TokenPolicy(
        name=name,
        granularity=limits.get("granularity") or "hour",
        step=limits.get("step") or 1,
        input=limits.get("input") or 0,
        output=limits.get("output") or 0,
        total=limits.get("total") or 0,
        ratio=limits.get("ratioInputOverOutput") or 0,
        strict=bool(limits.get("strict")),
    )


def _reached(name: str, limit: int, used: int) -> Reached:
    return Reached(name, limit, used, f"{limit} {name} tokens")


def _month(number: int) -> float:
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp()


class _Count:
    """The tokens of one model in one window."""

    __slots__ = ("begin", "end", "input", "output")

    def __init__(self, begin: float, end: float) -> None:
        self.begin, self.end = begin, end
        self.input = self.output = 0


class _Gate:
    """A model with one policy: its count, and whether that lets calls pass that reserve nothing.

    Most models with policies have one, and most calls pass: so that is worked out when tokens are
    counted, and only looked at when a call comes.
    """

    __slots__ = ("count", "is_open", "policies")

    def __init__(self, policies: tuple[TokenPolicy, ...], count: _Count) -> None:
        self.policies = policies
        self.count = count
        self.look()

    def look(self) -> None:
        """Tokens were counted."""
        count = self.count
        self.is_open = self.policies[0].spent(count.input, count.output) is None


class TokenPolicies:
    """Counts the tokens of models with policies, and refuses.

    Args:
        used: what was used before this process counted, for windows that began earlier.
        clock: seconds since 1970.
    """

    def __init__(self, used: Used | None = None, clock: Callable[[], float] = time.time) -> None:
        self._used = used
        self._clock = clock
        self._counts: dict[tuple[str, str, int], _Count] = {}
        self._gates: dict[str, _Gate] = {}
        self._reserved: dict[str, list[int]] = {}
        self._background = Background()

    def watch(self, resource_id: str, policies: Iterable[TokenPolicy]) -> None:
        """Begin to count for a model; what is counted already goes on."""
        for policy in policies:
            self._count(resource_id, policy)

    def admit(
        self, resource_id: str, policies: tuple[TokenPolicy, ...], need: Reservation | None = None
    ) -> Reservation | None:
        """Let a call pass, with its reservation where a strict policy wants one.

        Raises:
            PolicyViolated: no policy allows it; with the window and when it ends.
        """
        if not policies:
            return None
        if need is None:
            gate = self._gates.get(resource_id)
            if gate is None or gate.policies is not policies:
                gate = self._gate(resource_id, policies)
            if gate.is_open and self._clock() < gate.count.end:
                return None
        return self._admit(resource_id, policies, need)

    def _admit(
        self, resource_id: str, policies: tuple[TokenPolicy, ...], need: Reservation | None
    ) -> Reservation | None:
        refusals = []
        for policy in policies:
            refusal = self._refusal(resource_id, policy, need)
            if refusal is None:
                break
            refusals.append(refusal)
        else:
            raise min(refusals, key=lambda each: str(each.details["resetAt"]))
        if need is None:
            return None
        held = self._reserved.setdefault(resource_id, [0, 0])
        held[0] += need.input
        held[1] += need.output
        return need

    def release(self, held: Reservation) -> None:
        """Give a reservation back: its call has ended."""
        reserved = self._reserved[held.resource_id]
        reserved[0] -= held.input
        reserved[1] -= held.output
        if not any(reserved):
            del self._reserved[held.resource_id]

    def note(
        self, resource_id: str, policies: tuple[TokenPolicy, ...], received: int, sent: int
    ) -> None:
        """Count the tokens of a call that has ended."""
        gate = self._gates.get(resource_id)
        if (
            gate is not None
            and gate.policies is policies
            and len(policies) == 1
            and self._clock() < gate.count.end
        ):
            gate.count.input += received
            gate.count.output += sent
            gate.look()
            return
        windows: Iterable[TokenPolicy] = policies
        if len(policies) > 1:
            windows = {(policy.granularity, policy.step): policy for policy in policies}.values()
        for policy in windows:
            count = self._count(resource_id, policy)
            count.input += received
            count.output += sent
        self._gates.pop(resource_id, None)

    def _gate(self, resource_id: str, policies: tuple[TokenPolicy, ...]) -> _Gate:
        count = self._count(resource_id, policies[0])
        gate = self._gates[resource_id] = _Gate(policies, count)
        return gate

    def _refusal(
        self, resource_id: str, policy: TokenPolicy, need: Reservation | None
    ) -> PolicyViolated | None:
        count = self._count(resource_id, policy)
        set_aside = None
        if need is not None:
            held = self._reserved.get(resource_id, (0, 0))
            set_aside = held[0] + need.input, held[1] + need.output
        reached = policy.reached(count.input, count.output, set_aside)
        return None if reached is None else _violated(policy, count, reached, self._clock())

    def _count(self, resource_id: str, policy: TokenPolicy) -> _Count:
        key = (resource_id, policy.granularity, policy.step)
        moment = self._clock()
        count = self._counts.get(key)
        if count is None or moment >= count.end:
            is_first = count is None
            count = self._counts[key] = _Count(*policy.window(moment))
            self._gates.pop(resource_id, None)
            if is_first and self._used is not None:
                self._background.start(self._load(self._used, resource_id, count))
        return count

    async def _load(self, used: Used, resource_id: str, count: _Count) -> None:
        received, sent = await used(resource_id, count.begin)
        count.input += received
        count.output += sent
        self._gates.pop(resource_id, None)

    async def loaded(self) -> None:
        """Wait until all that was used before is counted."""
        await self._background.wait()


def _violated(
    policy: TokenPolicy, count: _Count, reached: Reached, moment: float
) -> PolicyViolated:
    reset = datetime.fromtimestamp(count.end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    every = policy.granularity if policy.step == 1 else f"{policy.step} {policy.granularity}s"
    asks = " would need" if policy.strict else " used"
    return PolicyViolated(
        f"The policy '{policy.name}' allows {reached.words} per {every};{asks} {reached.used}."
        f" The window ends at {reset}.",
        headers={"Retry-After": str(max(1, int(count.end - moment) + 1))},
        details={
            "policy": policy.name,
            "limit": reached.told(),
            "window": {"granularity": policy.granularity, "step": policy.step},
            "resetAt": reset,
        },
    )


def meter_call(
    gateway: "Gateway",
    route: "ModelRoute",
    principal: Principal,
    usage: ModelUsage,
    held: Reservation | None = None,
) -> None:
    """A call has ended: count it for the model's policies and tell its usage.

    Of a call whose tokens nobody told, all that was ``held`` for it counts.
    """
    if route.token_policies:
        received, sent = usage.input_tokens, usage.written()
        if held is not None and usage.untold():
            received, sent = max(received, held.input), max(sent, held.output)
        gateway.token_policies.note(route.resource_id, route.token_policies, received, sent)
    gateway.on_model_usage(route, principal, usage)
