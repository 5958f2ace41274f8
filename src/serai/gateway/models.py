"""Model calls: the provider's key instead of the caller's, and the tokens counted on the way."""

import re
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import msgspec

from serai.gateway.exchange import Exchange
from serai.gateway.forwarding import DROPPED_FOR_MODEL, Copied, copy_request
from serai.gateway.problems import RequestTimeout, RouteNotFound, UpstreamSlow, WorkloadNotFound
from serai.gateway.request import Request
from serai.gateway.routes import ModelRoute
from serai.gateway.targets import Target, join
from serai.gateway.upstream import Address, Answer
from serai.gateway.usage import AnswerMeter, Meter, ModelUsage, StreamMeter, Tally
from serai.kernel.errors import BadRequest, PayloadTooLarge, SeraiError, ServiceUnavailable

if TYPE_CHECKING:
    from serai.gateway.protocol import GatewayProtocol

_VERSION = re.compile(rb"/v[0-9]")
_DOTS = re.compile(rb"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_USUAL_PATH = b"/v1/chat/completions"
_TRUE = msgspec.Raw(b"true")
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_options = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Origin(NamedTuple):
    """A provider's base URL, taken apart.

    Attributes:
        address: where to connect.
        host: the ``Host`` header.
        path: what goes before ``/v1``, without a trailing slash.
    """

    address: Address
    host: bytes
    path: bytes


def origin_of(base_url: str) -> Origin:
    """Take a base URL apart; a trailing ``/v1`` is left out, as request paths bring their own.

    Raises:
        ServiceUnavailable: the URL is not ``http://`` or ``https://`` with a host.
    """
    parts = urlsplit(base_url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
        raise ServiceUnavailable(
            "The model's base URL is not of the form https://host[:port][/path]; correct the"
            " endpoint of its integration."
        )
    tls = parts.scheme == "https"
    address = Address("", parts.hostname, port or (443 if tls else 80), tls)
    path = parts.path.rstrip("/").removesuffix("/v1").encode("ascii", "ignore")
    return Origin(address, parts.netloc.rpartition("@")[2].encode("ascii", "ignore"), path)


def provider_path(rest: bytes) -> bytes:
    """The provider's path for what follows the model's name; ``/v1`` is added when missing.

    Raises:
        RouteNotFound: nothing follows the name.
        BadRequest: the path climbs with dot segments.
    """
    if rest == _USUAL_PATH:
        return rest
    if not rest.strip(b"/"):
        raise RouteNotFound(
            "A model's URL needs an API path after its name, for example /v1/chat/completions."
        )
    if (b"." in rest or b"%2" in rest) and _DOTS.search(rest):
        raise BadRequest("The path of a model call may not contain '.' or '..' segments.")
    return rest if rest.startswith(b"/v1/") or _VERSION.match(rest) else b"/v1" + rest


class Rewritten(msgspec.Struct, frozen=True, gc=False):
    """A model call's body as the provider gets it.

    Attributes:
        body: the bytes; the caller's own where nothing had to change.
        strip: usage was asked for on the caller's behalf, so the usage event must be dropped.
    """

    body: bytes
    strip: bool


def rewrite(body: bytes, model: str | None, *, completions: bool) -> Rewritten:
    """Put the provider's model name into a JSON body, and ask for usage in a stream.

    Args:
        body: JSON object; values that need no change keep their bytes.
        model: the provider's name; None keeps the caller's.
        completions: the operation knows ``stream_options``.

    Raises:
        BadRequest: the body is not a JSON object, or ``stream_options`` is none.
    """
    streams = completions and b'"stream"' in body
    if model is None and not streams:
        return Rewritten(body, False)
    try:
        fields = _fields.decode(body)
        asks = streams and bytes(fields.get("stream", b"")) == b"true"
        strip = asks and _ask_for_usage(fields)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body of a model call must be a JSON object: {error}.") from error
    if model is not None:
        fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    elif not strip:
        return Rewritten(body, False)
    return Rewritten(msgspec.json.encode(fields), strip)


def _ask_for_usage(fields: dict[str, msgspec.Raw]) -> bool:
    """Set ``stream_options.include_usage``; whether the caller had not done so."""
    given = fields.get("stream_options")
    options = {} if given is None or bytes(given) == b"null" else _options.decode(given)
    if bytes(options.get("include_usage", b"")) == b"true":
        return False
    options["include_usage"] = _TRUE
    fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return True


class ModelExchange(Exchange):
    """Collects the body, rewrites it, and meters the answer as it passes."""

    __slots__ = ("heard", "meter", "path", "ready", "route", "sent", "size", "streamed", "strip")

    def __init__(self, client: "GatewayProtocol", request: Request, target: Target) -> None:
        Exchange.__init__(self, client, request, target)
        self.route: ModelRoute | None = None
        self.path = b""
        self.size = 0
        self.heard = 0.0
        self.ready = False
        self.sent = False
        self.strip = False
        self.streamed = False
        self.meter: Meter | None = None

    def admitted(self) -> None:
        target = self.target
        route = self.gateway.routes.models.get((target.workspace, target.name))
        self.demand_access(route.account_id if route else None)
        if route is None:
            raise WorkloadNotFound(
                f"No model '{target.name}' in workspace '{target.workspace}'. Create it first, or"
                " check the name."
            )
        allowance = self.gateway.allowance
        if allowance is not None and allowance.refusals:
            spent = allowance.refusal(route.account_id, route.workspace)
            if spent is not None:
                raise spent
        self.path = provider_path(target.rest)
        self.route = route
        self.ready = True
        if self.request.complete:
            self._send(route)
            return
        self._check_announced()
        self.heard = self.client.loop.time()
        if self.request.expects:
            self.invite_body()

    def _check_announced(self) -> None:
        length = self.request.index.get(b"content-length")
        if length is not None and int(length) > self.gateway.limits.model_body_bytes:
            raise self._too_large()

    def _too_large(self) -> SeraiError:
        limit = self.gateway.limits.model_body_bytes
        return PayloadTooLarge(f"The body of a model call may have at most {limit} bytes.")

    # -- the request
    def body(self, data: bytes) -> None:
        if self.done:
            return
        self.backlog.append(data)
        self.size += len(data)
        self.heard = self.client.loop.time() if self.size > 65536 else self.heard
        if self.size > self.gateway.limits.model_body_bytes:
            self.fail(self._too_large())

    def end(self) -> None:
        if self.ready and not self.done and self.route is not None:
            try:
                self._send(self.route)
            except Exception as error:
                self.fail(self._as_problem(error))

    def _send(self, route: ModelRoute) -> None:
        body = self.backlog[0] if len(self.backlog) == 1 else b"".join(self.backlog)
        self.backlog = []
        copied = copy_request(self.request.headers, DROPPED_FOR_MODEL)
        if copied.host is None and self.request.http11:
            raise BadRequest("An HTTP/1.1 request needs a Host header.")
        if body and self._is_json():
            completions = self.path.endswith(b"/completions")
            rewritten = rewrite(body, route.model, completions=completions)
            body, self.strip = rewritten.body, rewritten.strip
        origin = self.gateway.origin(route.base_url)
        head = self._head(route, origin, copied, body)
        self.sent = True
        self.deadline = self.client.loop.time() + self.gateway.limits.model_response_timeout
        self.dispatch(origin.address, head, chunked=False)

    def _is_json(self) -> bool:
        kind = self.request.index.get(b"content-type", b"application/json")
        return kind == b"application/json" or b"json" in kind.lower()

    def _head(self, route: ModelRoute, origin: Origin, copied: Copied, body: bytes) -> bytes:
        path = join(origin.path + self.path, self.credential.query)
        lines = [self.request.method, b" ", path, b" HTTP/1.1\r\nhost: ", origin.host, b"\r\n"]
        lines += copied.lines
        if route.api_key:
            lines += (b"authorization: Bearer ", route.api_key.encode("latin-1"), b"\r\n")
        if body or self.request.method in (b"POST", b"PUT", b"PATCH"):
            lines.append(b"content-length: %d\r\n" % len(body))
        lines += (b"accept-encoding: identity\r\nx-request-id: ", self.request_id.encode("ascii"))
        lines += (b"\r\n\r\n", body)
        return b"".join(lines)

    def tick(self, now: float) -> None:
        super().tick(now)
        if self.ready and not self.sent and not self.done:
            limit = self.gateway.limits.model_body_timeout
            if now - self.heard > limit:
                self.request.keep_alive = False
                self.fail(RequestTimeout(f"Nothing of the body arrived for {limit:g} s."))

    def timed_out(self) -> None:
        limit = self.gateway.limits.model_response_timeout
        self.fail(UpstreamSlow(f"The model server did not start to answer within {limit:g} s."))

    def label(self) -> str:
        return "model server"

    # -- the answer
    def answered(self, answer: Answer) -> None:
        index = answer.index
        kind = index.get(b"content-type", b"")
        if kind != b"application/json":
            kind = kind.lower()
            self.streamed = kind.startswith(b"text/event-stream")
        if not answer.empty and index.get(b"content-encoding", b"identity") == b"identity":
            if self.streamed:
                self.meter = StreamMeter(strip=self.strip)
            elif b"json" in kind:
                self.meter = AnswerMeter()
        Exchange.answered(self, answer)

    def answer_length(self, answer: Answer) -> int | None:
        return None if self.streamed and self.strip else answer.length

    def received(self, data: bytes) -> None:
        if self.meter is not None:
            data = self.meter.feed(data)
        if self.chunked_out:
            Exchange.received(self, data)
        else:
            self.out.append(data)

    def settled(self) -> None:
        if self.meter is not None and (rest := self.meter.end()):
            Exchange.received(self, rest)
        Exchange.settled(self)

    def cut(self, problem: SeraiError) -> None:
        if self.streamed and (self.chunked_out or not self.request.http11):
            error = {
                "code": problem.code,
                "message": problem.message,
                "status": problem.status,
                "origin": "platform",
                "request_id": self.request_id,
            }
            Exchange.received(self, b"data: %b\n\n" % msgspec.json.encode({"error": error}))
            self.flush()
        super().cut(problem)

    def closed(self) -> None:
        if self.route is None or not self.sent:
            return
        tally = Tally() if self.meter is None else self.meter.tally
        self.gateway.on_model_usage(
            self.route,
            self.principal,
            ModelUsage(
                request_id=self.request_id,
                status=self.status,
                input_tokens=tally.input,
                output_tokens=tally.output,
                total_tokens=tally.total,
                started=self.started,
                duration=max(0.0, time.time() - self.started),
                streamed=self.streamed,
                counted=tally.counted,
            ),
        )
