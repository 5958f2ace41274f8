"""The rules of one sandbox, as connections and requests meet them."""

import asyncio
import uuid
from ipaddress import ip_address

import msgspec

from serai.egress.addresses import Address
from serai.egress.injection import Headers, Injection
from serai.egress.journal import FIREWALL, UNKNOWN_NAME, Journal
from serai.egress.names import Pins
from serai.egress.pace import Pace
from serai.egress.patterns import canonical_path, host_of
from serai.egress.policy import Policy

_LOOKUPS = 4
_OPENED = 128
_MOST_HELD = 16 << 20
REQUEST_ID = b"X-Blaxel-Request-Id"
_NOT_PASSED_ON = frozenset(
    {b"proxy-authorization", b"proxy-connection", b"proxy-authenticate", b"http2-settings"}
)


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
    """What decides for one sandbox; ``policy`` may change between two requests.

    Attributes:
        lookups: turns for names that are looked up, so that none keeps the others waiting.
        opened: turns for connections whose requests are read.
        held: bytes of request bodies that wait to be changed.
        pace: of what moves nothing.
    """

    def __init__(self, policy: Policy) -> None:
        self.lookups = asyncio.Semaphore(_LOOKUPS)
        self.opened = asyncio.Semaphore(_OPENED)
        self.held = 0
        self.pace = Pace()
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
        if self.held > _MOST_HELD:
            injection.leave_body()
        number = uuid.uuid4().hex.encode()
        kept = [each for each in headers if _is_passed_on(*each)]
        return Request(host, [*injection.headers(kept), (REQUEST_ID, number)], injection, number)

    def _is_stray_address(self, host: str) -> bool:
        """An address instead of a name, although there are rules about names."""
        if not self.policy.filters or self.policy.mentions(host):
            return False
        try:
            return not self.pins.names(ip_address(host))
        except ValueError:
            return False


def _is_passed_on(name: bytes, value: bytes) -> bool:
    """Not what is for us, nor an upgrade to requests that we would not see (h2c)."""
    name = name.lower()
    if name == b"upgrade":
        return value.strip().lower() == b"websocket"
    return name not in _NOT_PASSED_ON
