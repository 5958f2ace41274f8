"""What the gateway can reach, as an in-memory snapshot of derived state.

The composition root fills it from the store at start and whenever a resource changes; the
gateway only reads it.
"""

import msgspec

from serai.catalog.provider_api import ProviderApi
from serai.gateway.models.rate_limits import RateLimit
from serai.gateway.models.token_policies import TokenPolicy
from serai.wire.model_gateway import ModelGateway


class SandboxRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox that runs, or is suspended.

    Attributes:
        account_id: account that pays.
        workspace: workspace name.
        name: sandbox name.
        resource_id: the sandbox's internal id; changes when a name is used again.
        api_socket: Unix socket of the sandbox API (HTTP/1.1).
        port_socket: Unix socket to TCP ports inside; protocol in ``runtime.port``.
        asleep: it must be asked for before anything is sent there.
    """

    account_id: str
    workspace: str
    name: str
    resource_id: str
    api_socket: str
    port_socket: str
    asleep: bool = False


class ModelRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A model at a provider.

    Attributes:
        account_id: account that pays.
        workspace: workspace name.
        name: model name in the path.
        resource_id: internal id.
        provider: integration type, for example ``openai``.
        base_url: origin and path that ``/v1/…`` is appended to, no trailing slash.
        api_key: the provider's key; empty for none.
        model: the provider's model name, put where its API has it when set.
        api: how the provider is called.
        disabled: its owner has switched it off.
        unusable: why it cannot be called, for people; empty when it can.
        prohibited: why its policies do not let it be called here; empty when they do.
        token_policies: limits of its tokens.
        strict: one of them is strict.
        rate_limits: of its requests and tokens.
        gateway: the model's extra settings.
        place: names the one of several connections at which this model is called; else the
            internal id.
        weight: share of the calls that this place gets, beside others of the model.
        places: a route for each of several connections; the first leads where this does.
        labels: those of the model, as JSON.
        logged: something of its calls' content is kept; follows from its settings.
        unlinked: it is unusable for want of a connection, and for no other reason.
        replaced: it is, and its fallbacks are asked in its place; follows from its settings.
        blocked: it is disabled, prohibited, or unusable and not replaced; follows from these.
        reserves: the body of a call says what it may use, which is set aside; follows too.
        routed: a call may take more than one attempt, or none; follows too.
        plain: nothing here needs that, or a look at a call's body, so that it may go the short way
            (``serai.gateway.models.express``).
    """

    account_id: str
    workspace: str
    name: str
    resource_id: str
    provider: str
    base_url: str
    api_key: str
    model: str | None
    api: ProviderApi = ProviderApi()
    disabled: bool = False
    unusable: str = ""
    prohibited: str = ""
    token_policies: tuple[TokenPolicy, ...] = ()
    strict: bool = False
    rate_limits: tuple[RateLimit, ...] = ()
    gateway: ModelGateway = msgspec.field(default_factory=ModelGateway)
    place: str = ""
    weight: int = 1
    places: "tuple[ModelRoute, ...]" = ()
    labels: str = "{}"
    logged: bool = False
    unlinked: bool = False
    replaced: bool = False
    blocked: bool = False
    reserves: bool = False
    routed: bool = False
    plain: bool = True

    def __post_init__(self) -> None:
        extra = self.gateway
        needs = (extra.timeout_ms, extra.retries, extra.fallbacks, extra.cache, self.places)
        logged = extra.request_log is not None and bool(extra.request_log.enabled)
        forbidden = self.disabled or bool(self.prohibited)
        replaced = self.unlinked and bool(extra.fallbacks) and not forbidden
        follows = {
            "logged": logged,
            "place": self.place or self.resource_id,
            "replaced": replaced,
            "blocked": forbidden or (bool(self.unusable) and not replaced),
            "reserves": self.strict or any(limit.tokens for limit in self.rate_limits),
            "routed": any(needs),
            "plain": not (any(needs) or self.rate_limits or logged),
        }
        for name, value in follows.items():
            msgspec.structs.force_setattr(self, name, value)


def connection_of(route: ModelRoute) -> str:
    """The connection that a route leads to, of a model with several; else empty."""
    return route.place.removeprefix(route.resource_id)[1:]


class PreviewRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A preview of one port of a sandbox. Header names are in lower case.

    Attributes:
        slug: what tells its address from others.
        workspace: workspace name.
        sandbox: sandbox name.
        name: its own name.
        domain: the custom domain it has a name in; empty without one.
        host: that name.
        port: port inside; 0 for the sandbox API.
        public: no token is needed.
        ends_at: Unix time after which it is no more; None for never.
        tokens: SHA-256 of each token, and the Unix time at which it ends.
        request_lines: pieces of header lines that every request gets.
        host_line: the ``Host`` that every request gets instead of its own.
        authorizes: the request lines hold an ``Authorization``.
        dropped: request headers that do not pass.
        response_headers: set on every answer.
        response_names: their names.
    """

    slug: str
    workspace: str
    sandbox: str
    port: int
    public: bool
    ends_at: float | None
    tokens: dict[bytes, float | None]
    request_lines: list[bytes]
    host_line: bytes | None
    authorizes: bool
    dropped: frozenset[bytes]
    response_headers: list[tuple[bytes, bytes]]
    response_names: frozenset[bytes]
    name: str = ""
    domain: str = ""
    host: str = ""


class DomainRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A verified custom domain below which previews have names.

    Attributes:
        name: the domain.
        workspace: whose it is.
        workspaces: whose previews may have names in it; its own and those it is shared with.
        fallback: name of the owner's preview that is served for other names; empty for none.
    """

    name: str
    workspace: str
    workspaces: frozenset[str]
    fallback: str


class RouteTable:
    """Lookup of routes by workspace and name; replaced piece by piece on the event loop.

    Previews are found by their slug, or by their host in a custom domain. ``unverified`` are
    domains that somebody has named but not proven to have.
    """

    def __init__(self) -> None:
        self.sandboxes: dict[tuple[str, str], SandboxRoute] = {}
        self.models: dict[tuple[str, str], ModelRoute] = {}
        self.previews: dict[str, PreviewRoute] = {}
        self.hosts: dict[str, PreviewRoute] = {}
        self.domains: dict[str, DomainRoute] = {}
        self.unverified: frozenset[str] = frozenset()
