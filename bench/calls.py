"""What a plain model call costs in the gateway's own code: no network, no kernel.

A real protocol with everything around it that `serai up` puts there, between two transports that
only take notes: the request's bytes go in, the provider's answer is handed over as soon as it is
asked for. What is measured is the thread's CPU time of many calls, the least of the rounds.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from bench.report import Row
from serai.gateway.gateway import Gateway
from serai.gateway.models.token_policies import TokenPolicies, TokenPolicy
from serai.gateway.protocol import gateway_protocol
from serai.gateway.routes import ModelRoute, RouteTable
from serai.gateway.upstream import Address, Upstream
from serai.gateway.usage import ModelUsage
from serai.identity.principal import Principal
from serai.metering.models import UsageBuffer
from serai.observed import ObservedCalls, attempted, described
from serai.store.secrets import Vault
from serai.telemetry.logs import RequestLogs
from serai.telemetry.metrics import ModelMetrics
from serai.telemetry.requests import RequestBuffer
from serai.telemetry.tracing import Finished, Tracer

CALLS = 4_000
AT_ONCE = 100
"""Calls between two looks at what has come: about as many as a busy gateway has in 20 ms."""
RATE = 500
"""Rows a second, as by default; they are bounded by the clock."""
KEY = "a-key-that-is-known-already"
_BODY = b'{"model":"m","messages":[{"role":"user","content":"How are you today, friend?"}]}'
_REQUEST = (
    b"POST /main/models/m/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"
    b"Content-Type: application/json\r\nAccept: application/json\r\n"
    b"User-Agent: OpenAI/Python 1.99\r\nX-Stainless-Lang: python\r\n"
    b"X-Stainless-Runtime: CPython\r\nAccept-Encoding: identity\r\n"
    b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b" % (KEY.encode(), len(_BODY), _BODY)
)
_SAID = (
    b'{"id":"chatcmpl-9x","object":"chat.completion","created":1700000000,"model":"provider-model",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"%b"},"finish_reason":"stop",'
    b'"logprobs":null}],"usage":{"prompt_tokens":14,"completion_tokens":57,"total_tokens":71,'
    b'"prompt_tokens_details":{"cached_tokens":0},'
    b'"completion_tokens_details":{"reasoning_tokens":0}}}' % (b"I am fine. " * 22)
)
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Thu, 26 Nov 2026 10:00:00 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n%b"
    % (len(_SAID), _SAID)
)


def _asked(number: int) -> bytes:
    """A request with a body of another length than others."""
    body = _BODY.replace(b"friend", b"friend" + b"!" * number)
    head = _REQUEST.partition(b"\r\n\r\n")[0]
    return head.replace(b"Length: %d" % len(_BODY), b"Length: %d" % len(body)) + b"\r\n\r\n" + body


_VARIED = [
    (_asked(number), _ANSWER.replace(b"Server:", b"X-Request-Id: req-%d\r\nServer:" % number))
    for number in range(CALLS)
]


class Wire(asyncio.Transport):
    """A transport that only counts, or hands over an answer to what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        self.asked: Upstream | None = None

    def write(self, data: Any) -> None:
        self.written += len(data)

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 50_000) if name in ("peername", "sockname") else default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


class Keys:
    """One key, remembered as ``CredentialAuthenticator`` does it."""

    def __init__(self) -> None:
        caller = Principal(
            subject="u",
            email="a@b.c",
            account_id="acc",
            account_admin=True,
            workspaces={"main": "admin"},
            credential_id="k",
        )
        self._cache = {KEY: (time.monotonic() + 1e6, caller)}

    def cached(self, token: str) -> Principal | None:
        """The caller."""
        entry = self._cache.get(token)
        if entry is None or entry[0] < time.monotonic():
            return None
        return entry[1]


class Spans:
    """Takes spans and keeps none."""

    def add(self, finished: Finished) -> None:
        """Take one."""


def _route() -> ModelRoute:
    policy = TokenPolicy(name="bench", granularity="day", total=10**12)
    return ModelRoute(
        account_id="acc",
        workspace="main",
        name="m",
        resource_id="id-m",
        provider="openai",
        base_url="http://127.0.0.1:9/v1",
        api_key="sk-provider",
        model="provider-model",
        token_policies=(policy,),
    )


async def _nothing(scope: object, receive: object, send: object) -> None:
    """The management API's stand-in."""


class Bench:
    """A gateway with one client's connection and one to the provider.

    Args:
        hooks: the bill, metrics and rows are told, as in `serai up`.
        tracer: of spans.
        varied: no two heads in a row are alike, as with prompts of different lengths and providers
            that number their answers.
    """

    def __init__(
        self, *, hooks: bool = True, tracer: Tracer | None = None, varied: bool = False
    ) -> None:
        self.varied = varied
        routes = RouteTable()
        route = routes.models["main", "m"] = _route()
        self.rows = RequestBuffer(RATE)
        self.bill = UsageBuffer()
        logs = RequestLogs(Vault(b"k" * 32), 30)
        self.calls = ObservedCalls(self.bill, self.rows, logs, ModelMetrics(), routes)
        self.told: list[Any] = []
        gateway = Gateway(
            routes,
            Keys(),  # type: ignore[arg-type]
            on_model_usage=self.calls.add if hooks else self._note,
            on_sandbox_activity=lambda *_: None,
            token_policies=TokenPolicies(),
            tracer=tracer,
        )
        self.gateway = gateway
        config = Config(_nothing, lifespan="off", ws="none", log_config=None)
        config.load()
        self.client = gateway_protocol(gateway)(config, ServerState(), {})  # type: ignore[call-arg]
        self.out, self.wire = Wire(), Wire()
        self.client.connection_made(self.out)
        self.upstream = Upstream(Address("", "127.0.0.1", 9, False), gateway.pool)
        self.upstream.connection_made(self.wire)
        gateway.pool.give_back(self.upstream)
        gateway.token_policies.watch(route.resource_id, route.token_policies)

    def _note(self, route: ModelRoute, caller: Principal, usage: ModelUsage) -> None:
        self.told.append((route, caller, usage))

    def round(self, calls: int = CALLS) -> float:
        """CPU microseconds of one call."""
        client, upstream = self.client, self.upstream
        before = self.out.written
        upstream.idle_since = time.monotonic()  # others had their turns meanwhile
        pairs = _VARIED if self.varied else [(_REQUEST, _ANSWER)] * CALLS
        began = time.thread_time_ns()
        for first in range(0, calls, AT_ONCE):
            for request, answer in pairs[first : first + AT_ONCE]:
                client.data_received(request)
                upstream.data_received(answer)
            self.calls.work()
        spent = time.thread_time_ns() - began
        assert self.out.written - before > calls * len(_SAID)
        self.rows.waiting.clear()
        self.bill.flush()
        self.told.clear()
        return spent / 1000 / calls


def _tracer(ratio: float) -> Tracer:
    return Tracer(Spans(), ratio, described, attempted)


BENCHES: dict[str, Callable[[], Bench]] = {
    "A plain call": lambda: Bench(hooks=False),
    "with the bill, metrics and rows": Bench,
    "the same, each head another": lambda: Bench(varied=True),
    "with traces, none of them recorded": lambda: Bench(tracer=_tracer(0.0)),
    "with traces, a tenth recorded": lambda: Bench(tracer=_tracer(0.1)),
    "with traces, all recorded": lambda: Bench(tracer=_tracer(1.0)),
}


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    try:
        yield loop
    finally:
        loop.close()


def run(rounds: int) -> list[Row]:
    """The least of the rounds, in which all take turns; neighbours can only add to it."""

    async def measure() -> dict[str, float]:
        benches = {name: make() for name, make in BENCHES.items()}
        least = {name: bench.round() for name, bench in benches.items()}
        for _ in range(rounds * 4):
            for name, bench in benches.items():
                least[name] = min(least[name], bench.round())
        return least

    with _loop() as loop:
        least = loop.run_until_complete(measure())
    base = least["A plain call"]
    return [Row(name, value, "us", ("plain", base)) for name, value in least.items()]
