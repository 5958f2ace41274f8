"""What the gateway can reach, as an in-memory snapshot of derived state.

The composition root fills it from the store at start and whenever a resource changes; the
gateway only reads it.
"""

import msgspec


class SandboxRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A running sandbox.

    Attributes:
        account_id: account that pays.
        workspace: workspace name.
        name: sandbox name.
        resource_id: the sandbox's internal id; changes when a name is used again.
        api_socket: Unix socket of the sandbox API (HTTP/1.1).
        port_socket: Unix socket to TCP ports inside; protocol in ``runtime.port``.
    """

    account_id: str
    workspace: str
    name: str
    resource_id: str
    api_socket: str
    port_socket: str


class ModelRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A model behind an OpenAI-compatible server.

    Attributes:
        account_id: account that pays.
        workspace: workspace name.
        name: model name in the path.
        resource_id: internal id.
        provider: integration type, for example ``openai``.
        base_url: origin and path that ``/v1/…`` is appended to, no trailing slash.
        api_key: the provider's key, sent as ``Authorization: Bearer``; empty for none.
        model: the provider's model name, put into the body's ``model`` when set.
    """

    account_id: str
    workspace: str
    name: str
    resource_id: str
    provider: str
    base_url: str
    api_key: str
    model: str | None


class RouteTable:
    """Lookup of routes by workspace and name; replaced piece by piece on the event loop."""

    def __init__(self) -> None:
        self.sandboxes: dict[tuple[str, str], SandboxRoute] = {}
        self.models: dict[tuple[str, str], ModelRoute] = {}
