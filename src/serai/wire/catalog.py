"""Catalogues: what this installation offers, where it runs, and what it can connect to.

These Structs are also the shapes of the files that extend the catalogues: keys in those files
are spelled as in the API.
"""

from typing import Any, Literal

from msgspec import field

from serai.wire.common import Flavor, Port, Wire


class IntegrationEndpointToken(Wire):
    """Where in an answer token counts stand, as dotted paths."""

    received: str | None = None
    sent: str | None = None
    total: str | None = None


class IntegrationEndpoint(Wire):
    """One path of a provider's API; ``body`` is an example request as JSON text."""

    method: str | None = None
    body: str | None = None
    models: list[dict[str, Any]] | None = None
    ignore_models: list[dict[str, Any]] | None = None
    stream_key: str | None = None
    stream_token: IntegrationEndpointToken | None = None
    token: IntegrationEndpointToken | None = None


class Integration(Wire):
    """A provider; keys of ``endpoints`` are paths below a model's URL."""

    name: str
    endpoints: dict[str, IntegrationEndpoint] | None = None
    headers: dict[str, str] | None = None
    params: dict[str, str] | None = None
    additional_infos: dict[str, str] | None = None


class EndpointConfiguration(Wire):
    """An endpoint of a connection as it is called: method and full URL."""

    path: str
    method: str
    url: str


class Location(Wire):
    """Where resources can run."""

    region: str
    location: str
    status: str
    continent: str | None = None
    country: str | None = None
    flavors: list[Flavor] | None = None


class PublicIp(Wire):
    """Addresses that a region's traffic comes from, as CIDR."""

    description: str
    ipv4_cidrs: list[str]
    ipv6_cidrs: list[str]


class Place(Wire):
    """A code and its name."""

    name: str
    display_name: str


class Region(Wire):
    """A region and what it can do; capabilities are always sent."""

    name: str
    location: str
    drives_available: bool
    egress_available: bool
    proxy_available: bool
    mk31_available: bool
    continent: str | None = None
    country: str | None = None


class PrivateLocation(Wire):
    """A private location."""

    name: str


class Configuration(Wire):
    """What a policy editor offers."""

    regions: list[Region]
    countries: list[Place]
    continents: list[Place]
    private_locations: list[PrivateLocation]
    detected_region: str | None = None


class Entrypoint(Wire):
    """How an MCP server is started."""

    command: str | None = None
    args: list[Any] | None = None
    super_gateway_args: list[Any] | None = None
    env: dict[str, str] | None = None


class FormOAuth(Wire):
    """The OAuth that an MCP server needs."""

    type: str | None = None
    scope: list[Any] | None = None


class Form(Wire):
    """What an MCP server asks of its user."""

    config: dict[str, Any] | None = None
    secrets: dict[str, Any] | None = None
    oauth: FormOAuth | None = None


class McpDefinition(Wire):
    """An MCP server that can be deployed."""

    name: str
    display_name: str | None = None
    description: str | None = None
    long_description: str | None = None
    image: str | None = None
    transport: Literal["websocket", "http-stream"] | None = None
    integration: str | None = None
    url: str | None = None
    icon: str | None = None
    categories: list[Any] | None = None
    hidden: bool | None = None
    coming_soon: bool | None = field(default=None, name="coming_soon")
    enterprise: bool | None = None
    hidden_secrets: list[str] | None = None
    entrypoint: Entrypoint | None = None
    form: Form | None = None
    created_at: str | None = None
    updated_at: str | None = None


class SandboxDefinition(Wire):
    """A sandbox image that can be started; ``memory`` in MiB."""

    name: str
    image: str
    display_name: str | None = None
    description: str | None = None
    long_description: str | None = None
    memory: int | None = None
    ports: list[Port] | None = None
    tags: str | None = None
    url: str | None = None
    icon: str | None = None
    categories: list[Any] | None = None
    hidden: bool | None = None
    coming_soon: bool | None = field(default=None, name="coming_soon")
    enterprise: bool | None = None


class TemplateVariable(Wire):
    """A value that a template needs."""

    name: str
    description: str | None = None
    integration: str | None = None
    path: str | None = None
    secret: bool | None = None


class Template(Wire):
    """A repository to start a project from; ``url`` is anything ``git clone`` takes."""

    name: str
    url: str
    description: str | None = None
    default_branch: str | None = None
    sha: str | None = None
    topics: list[str] | None = None
    icon: str | None = None
    icon_dark: str | None = None
    star_count: int | None = None
    forks_count: int | None = None
    download_count: int | None = None
    variables: list[TemplateVariable] | None = None


class ChangelogEntry(Wire):
    """What changed on a day (``YYYY-MM-DD``); ``content`` is Markdown."""

    date: str
    title: str
    content: str


class Changelog(Wire):
    """Newest first."""

    entries: list[ChangelogEntry]


class Secret(Wire):
    """A secret of the workspace; ``value`` is written, never read."""

    name: str
    value: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


class PolicyUsages(Wire):
    """The resources that refer to a policy, as ``{"name": …}``."""

    agents: list[dict[str, str]]
    functions: list[dict[str, str]]
    jobs: list[dict[str, str]]
    models: list[dict[str, str]]
    sandboxes: list[dict[str, str]]


class PolicyUsageCounts(Wire):
    """How many resources refer to a policy."""

    agents: int
    functions: int
    jobs: int
    models: int
    sandboxes: int
