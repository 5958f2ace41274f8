"""Models, integration connections and policies."""

from typing import Literal

from serai.wire.common import CoreEvent, Flavor, Metadata, Status, Wire
from serai.wire.model_gateway import ModelGateway


class ModelRuntime(Wire):
    """The provider type and the provider's own name of the model."""

    type: (
        Literal[
            "hf_private_endpoint",
            "hf_public_endpoint",
            "huggingface",
            "public_model",
            "mcp",
            "openai",
            "anthropic",
            "gemini",
            "mistral",
            "deepseek",
            "cohere",
            "cerebras",
            "xai",
            "vertexai",
            "azure-openai-service",
            "azure-ai-inference",
            "azure-marketplace",
            "groq",
        ]
        | None
    ) = None
    model: str | None = None
    organization: str | None = None
    endpoint_name: str | None = None
    generation: Literal["mk2", "mk3"] | None = None


class ModelSpec(Wire):
    """What a client wants of a model; of several integration connections each serves a share.

    ``gateway`` is our extension.
    """

    enabled: bool | None = None
    sandbox: bool | None = None
    flavors: list[Flavor] | None = None
    policies: list[str] | None = None
    integration_connections: list[str] | None = None
    runtime: ModelRuntime | None = None
    gateway: ModelGateway | None = None


class Model(Wire):
    """A model behind ``/{workspace}/models/{name}``."""

    metadata: Metadata
    spec: ModelSpec
    status: Status | None = None
    events: list[CoreEvent] | None = None


class IntegrationConnectionSpec(Wire):
    """Credentials and settings of a provider.

    ``secret`` values (for example ``apiKey``) are encrypted and masked. ``config.baseUrl`` is our
    extension: the origin and path of any OpenAI-compatible server.
    """

    integration: str
    config: dict[str, str] | None = None
    secret: dict[str, str] | None = None
    sandbox: bool | None = None


class IntegrationConnection(Wire):
    """A named connection to a provider."""

    metadata: Metadata
    spec: IntegrationConnectionSpec


class PolicyLocation(Wire):
    """A place that a location policy allows."""

    name: str | None = None
    type: Literal["location", "country", "continent"] | None = None


class PolicyMaxTokens(Wire):
    """Token limits per ``granularity`` (for example ``hour``), counted over ``step`` of them.

    ``strict`` is ours: reserve a call's tokens before it is sent, so that no limit is ever passed.
    """

    granularity: str | None = None
    step: int | None = None
    input: int | None = None
    output: int | None = None
    total: int | None = None
    ratio_input_over_output: int | None = None
    strict: bool | None = None


class PolicySpec(Wire):
    """What a policy allows, and for which resource types."""

    type: Literal["location", "flavor", "maxToken"]
    resource_types: list[Literal["model", "function", "agent", "sandbox", "application"]] | None = (
        None
    )
    locations: list[PolicyLocation] | None = None
    flavors: list[Flavor] | None = None
    max_tokens: PolicyMaxTokens | None = None
    sandbox: bool | None = None


class Policy(Wire):
    """A rule that resources refer to by name."""

    metadata: Metadata
    spec: PolicySpec
