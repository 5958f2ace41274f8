"""The rules of one sandbox, as connections and requests meet them."""

import uuid
from ipaddress import ip_address

import msgspec

from serai.egress.addresses import Address
from serai.egress.injection import Headers, Injection
from serai.egress.journal import FIREWALL, UNKNOWN_NAME, Journal
from serai.egress.names import Pins
from serai.egress.patterns import canonical_path, host_of
from serai.egress.policy import Policy

REQUEST_ID = b"X-Blaxel-Request-Id"
_HOP_BY_HOP = frozenset({b"proxy-authorization", b"proxy-connection", b"proxy-authenticate"})


class Refused(Exception):
    """Not let out; ``args[0]`` is the reason, one of those in ``journal``."""

    @property
    def reason(self) -> str:
        """Why, in a word."""
        return str(self.args[0])


class Request(msgspec.Struct, frozen=True):
    """A request that may go out: how it goes there, and what its answer gets."""

    host: str
    headers: Headers
    injection: Injection
    id: bytes


class Gate:
    """What decides for one sandbox; ``policy`` may change between two requests."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.pins = Pins()
        self.journal = Journal()

    def unseen_name(self, address: Address, port: int, known: str | None) -> str:
        """The name of a connection that names none itself, if it may go out.

        Raises:
            Refused: a rule forbids it, or nothing tells what it is for.
        """
        names = [known] if known else self.pins.names(address)
        if not names:
            text = str(address)
            if self.policy.filters and not self.policy.mentions(text):
                self.journal.refuse(text, port, UNKNOWN_NAME)
                raise Refused(UNKNOWN_NAME)
            names = [text]
        for name in names:
            if not self.policy.may_pass_unseen(name):
                self.journal.refuse(name, port, FIREWALL)
                raise Refused(FIREWALL)
        return names[-1]

    def admit(
        self, authority: str, port: int, method: str, target: str, headers: Headers, *, secure: bool
    ) -> Request:
        """Judge a request and prepare it.

        Raises:
            Refused: a rule forbids it.
        """
        host, path = host_of(authority), canonical_path(target)
        if not self.policy.allows(host, method, path) or self._is_stray_address(host):
            self.journal.refuse(host, port, FIREWALL, method, path)
            raise Refused(FIREWALL)
        self.journal.allowed += 1
        injection = Injection(self.policy.routes_for(host), secure=secure)
        number = uuid.uuid4().hex.encode()
        kept = [each for each in headers if each[0].lower() not in _HOP_BY_HOP]
        return Request(host, [*injection.headers(kept), (REQUEST_ID, number)], injection, number)

    def _is_stray_address(self, host: str) -> bool:
        """An address instead of a name, although there are rules about names."""
        if not self.policy.filters or self.policy.mentions(host):
            return False
        try:
            return not self.pins.names(ip_address(host))
        except ValueError:
            return False
