"""How one operation of one model is sent to its provider: worked out once, then remembered."""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from serai.catalog.provider_api import asks_model, place_of
from serai.gateway.models.bodies import Change, change_to
from serai.gateway.models.naming import operation_of
from serai.gateway.problems import RouteNotFound
from serai.gateway.routes import ModelRoute
from serai.gateway.upstream import Address
from serai.kernel.errors import BadRequest, ServiceUnavailable

REMEMBERED = 4096
_DOTS = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_AUTH = {
    "bearer": "authorization: Bearer ",
    "x-api-key": "x-api-key: ",
    "x-goog-api-key": "x-goog-api-key: ",
    "api-key": "api-key: ",
}
_GOOGLE_CREDENTIALS = frozenset({b"key", b"access_token", b"oauth_token"})
"""Query parameters in which Google's clients may send a key."""


class Origin(NamedTuple):
    """A provider's base URL, taken apart.

    Attributes:
        address: where to connect.
        host: the ``Host`` header.
        path: what goes before ``/v1``, without a trailing slash.
    """

    address: Address
    host: bytes
    path: str


class Plan(msgspec.Struct, frozen=True, gc=False):
    """One operation of one model.

    Attributes:
        route: the model it was made for.
        address: where to connect.
        head: what follows the method in the request's first line, and the ``Host`` field; the
            query goes in between at ``cut``.
        cut: where.
        query: parameters to add unless the client has them.
        dropped: parameters that may hold a client's credential.
        secret: the provider's key; empty for none, or for a token that must be fetched.
        fields: header lines of the credential and of what every request gets.
        defaults: names and lines of fields that a request gets unless the client sent them.
        model: what the body's ``model`` becomes; None leaves it alone.
        rewrites: a JSON body must be read before it is sent.
        change: what then changes in it.
        asks: a POST asks the model, so that another place can answer it as well.
        operation: what OpenTelemetry calls it.
    """

    route: ModelRoute
    address: Address
    head: bytes
    cut: int
    query: tuple[tuple[bytes, bytes], ...]
    dropped: frozenset[bytes]
    secret: bytes
    fields: bytes
    defaults: tuple[tuple[bytes, bytes], ...]
    model: str | None
    rewrites: bool
    change: Change
    asks: bool
    operation: str

    def start(self, query: bytes | None) -> bytes:
        """The rest of the first line and the ``Host`` field, for a client's query."""
        if query is None and not self.query:
            return self.head
        pairs = [pair for pair in (query or b"").split(b"&") if pair]
        names = {pair.partition(b"=")[0] for pair in pairs}
        pairs = [pair for pair in pairs if pair.partition(b"=")[0] not in self.dropped]
        pairs += [name + b"=" + value for name, value in self.query if name not in names]
        if not pairs:
            return self.head
        return self.head[: self.cut] + b"?" + b"&".join(pairs) + self.head[self.cut :]


class Plans:
    """Remembers plans by place and path."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], Plan] = {}

    def find(self, route: ModelRoute, rest: bytes) -> Plan:
        """The plan for what follows the model's name in the URL.

        Raises:
            RouteNotFound: nothing follows the name.
            BadRequest: the path climbs with dot segments.
            ServiceUnavailable: the model's base URL is none.
        """
        key = (route.place, rest)
        plan = self._known.get(key)
        if plan is None or plan.route is not route:
            plan = make_plan(route, rest)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            if len(rest) <= 256:
                self._known[key] = plan
        return plan


def origin_of(base_url: str) -> Origin:
    """Take a base URL apart; a trailing ``/v1`` is left out, as request paths bring their own.

    Raises:
        ServiceUnavailable: the URL is not ``http://`` or ``https://`` with a host.
    """
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ServiceUnavailable(
            "The model's base URL is not of the form https://host[:port][/path]; correct"
            " spec.config.baseUrl of its integration connection."
        )
    tls = parts.scheme == "https"
    address = Address("", parts.hostname, port or (443 if tls else 80), tls)
    path = parts.path.rstrip("/").removesuffix("/v1")
    return Origin(address, parts.netloc.rpartition("@")[2].encode("ascii", "ignore"), path)


def make_plan(route: ModelRoute, rest: bytes) -> Plan:
    """Work a plan out; raises as ``Plans.find``."""
    if not rest.strip(b"/"):
        raise RouteNotFound(
            "A model's URL needs an API path after its name, for example /v1/chat/completions."
        )
    text = rest.decode("latin-1")
    if _DOTS.search(text):
        raise BadRequest("The path of a model call may not contain '.' or '..' segments.")
    origin = origin_of(route.base_url)
    api = route.api
    place = place_of(api, origin.path, text, route.model)
    start = b" " + place.path.encode("latin-1", "replace")
    google = api.family in {"google", "vertex"}
    return Plan(
        route,
        origin.address,
        start + b" HTTP/1.1\r\nhost: " + origin.host + b"\r\n",
        len(start),
        tuple((name.encode(), value.encode()) for name, value in api.query),
        _GOOGLE_CREDENTIALS if google else frozenset(),
        route.api_key.encode("latin-1", "ignore"),
        _line(_AUTH[place.auth], route.api_key),
        tuple((name.encode(), _line(f"{name}: ", value)) for name, value in api.headers),
        place.model,
        place.model is not None or place.completions or place.drops_usage,
        change_to(
            place.model,
            adds=place.adds_model,
            completions=place.completions,
            drops_usage=place.drops_usage,
        ),
        asks_model(text),
        operation_of(rest),
    )


def _line(start: str, value: str) -> bytes:
    return f"{start}{value}\r\n".encode("latin-1", "ignore") if value else b""
