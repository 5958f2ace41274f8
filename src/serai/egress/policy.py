"""What one sandbox may reach and what is added to its requests."""

from enum import Enum
from functools import cached_property

import msgspec

from serai.egress.patterns import Pattern, parse_all


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """What is added to requests for some destinations. ``secrets`` are plain text."""

    destinations: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    body: dict[str, str] = {}
    secrets: dict[str, str] = {}


class Verdict(Enum):
    """What is to be done with a connection for a name."""

    BLOCK = "block"
    PASS = "pass"  # noqa: S105
    OPEN = "open"
    """Each request in it must be seen."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The network of one sandbox, as its owner wants it.

    Attributes:
        allowed: patterns; when there are any, nothing else is reached.
        forbidden: patterns; they win over ``allowed``.
        bypass: names that are never opened, and need not be allowed.
        routes: what is added to requests.
        proxy_only: only what asks for the proxy gets out (ruleset ``proxy``).
        closed: nothing is reached that is not ``allowed``, even if that is empty.
        trusted: names with ports that the administrator chose: they may lead to private networks,
            but not to this machine.
    """

    allowed: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    bypass: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    proxy_only: bool = False
    closed: bool = False
    trusted: tuple[tuple[str, int], ...] = ()

    @cached_property
    def _allowed(self) -> tuple[Pattern, ...]:
        return parse_all(self.allowed)

    @cached_property
    def _forbidden(self) -> tuple[Pattern, ...]:
        return parse_all(self.forbidden)

    @cached_property
    def _bypass(self) -> tuple[Pattern, ...]:
        return parse_all(self.bypass)

    @cached_property
    def _routes(self) -> tuple[tuple[tuple[Pattern, ...], Route], ...]:
        return tuple((parse_all(route.destinations), route) for route in self.routes)

    @cached_property
    def needs_names(self) -> bool:
        """Whether addresses alone cannot decide."""
        return self.filters or bool(self.routes or self.trusted)

    @cached_property
    def filters(self) -> bool:
        """Whether there are names that must not be reached."""
        return self.closed or bool(self.allowed or self.forbidden)

    def verdict(self, host: str) -> Verdict:
        """What to do with a connection for ``host``, before any request is seen."""
        about = [each for each in self._forbidden if each.names(host)]
        if any(each.is_domain_only for each in about):
            return Verdict.BLOCK
        bypassed = self._is_bypassed(host)
        allowed = [each for each in self._allowed if each.names(host)]
        if (self._allowed or self.closed) and not allowed and not bypassed:
            return Verdict.BLOCK
        if about:
            return Verdict.OPEN
        if bypassed:
            return Verdict.PASS
        depends = bool(allowed) and not any(each.is_domain_only for each in allowed)
        return Verdict.OPEN if depends or self.routes_for(host) else Verdict.PASS

    def allows(self, host: str, method: str, path: str) -> bool:
        """Whether a request may go out; ``path`` is canonical."""
        if any(each.matches(host, method, path) for each in self._forbidden):
            return False
        if not (self._allowed or self.closed) or self._is_bypassed(host):
            return True
        return any(each.matches(host, method, path) for each in self._allowed)

    def may_pass_unseen(self, host: str) -> bool:
        """Whether ``host`` may be reached in a way that shows no requests."""
        verdict = self.verdict(host)
        if verdict is not Verdict.OPEN:
            return verdict is Verdict.PASS
        if any(each.names(host) for each in self._forbidden):
            return False
        allowed = [each for each in self._allowed if each.names(host)]
        return not self._allowed or any(each.is_domain_only for each in allowed)

    def mentions(self, address: str) -> bool:
        """Whether an address is itself among ``allowed``, and so needs no name."""
        return any(each.domain == address for each in self._allowed)

    def routes_for(self, host: str) -> list[Route]:
        """What is added to requests for ``host``, in the order of the configuration."""
        if self._is_bypassed(host):
            return []
        return [
            route
            for patterns, route in self._routes
            if any(pattern.names(host) for pattern in patterns)
        ]

    def _is_bypassed(self, host: str) -> bool:
        return any(each.names(host) for each in self._bypass)
