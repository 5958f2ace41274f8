"""Providers that connections can name: where their API is, and how it is called."""

from typing import Any, Literal

import msgspec

from serai.catalog.files import CatalogueFiles, IntegrationsFile, OwnIntegration
from serai.kernel.errors import BadRequest, NotFound
from serai.wire.catalog import (
    EndpointConfiguration,
    Integration,
    IntegrationEndpoint,
    IntegrationEndpointToken,
)

Auth = Literal["bearer", "x-api-key", "x-goog-api-key"]
ANTHROPIC_VERSION = "2023-06-01"


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider.

    Attributes:
        base_url: origin and path of its API, without ``/v1``; ``None`` when only a connection's
            ``spec.config.baseUrl`` can say.
        auth: the header that carries the key.
        models_path: where it lists its models.
        integration: what clients see.
    """

    integration: Integration
    base_url: str | None = None
    auth: Auth = "bearer"
    models_path: str = "/v1/models"


OPENAI_TOKENS = IntegrationEndpointToken(
    sent="usage.prompt_tokens", received="usage.completion_tokens", total="usage.total_tokens"
)


def _endpoint(example: dict[str, Any], tokens: IntegrationEndpointToken) -> IntegrationEndpoint:
    return IntegrationEndpoint(
        method="POST", body=msgspec.json.encode(example).decode(), token=tokens
    )


def _chat() -> dict[str, IntegrationEndpoint]:
    example = {"messages": [{"role": "user", "content": "Hello"}]}
    return {"/v1/chat/completions": _endpoint(example, OPENAI_TOKENS)}


def _openai_like(name: str, base_url: str | None = None) -> Provider:
    return Provider(integration=Integration(name=name, endpoints=_chat()), base_url=base_url)


def _anthropic() -> Provider:
    example = {"max_tokens": 256, "messages": [{"role": "user", "content": "Hello"}]}
    tokens = IntegrationEndpointToken(sent="usage.input_tokens", received="usage.output_tokens")
    return Provider(
        base_url="https://api.anthropic.com",
        auth="x-api-key",
        integration=Integration(
            name="anthropic",
            endpoints={"/v1/messages": _endpoint(example, tokens)},
            headers={"anthropic-version": ANTHROPIC_VERSION},
        ),
    )


def _gemini() -> Provider:
    example = {"contents": [{"parts": [{"text": "Hello"}]}]}
    tokens = IntegrationEndpointToken(
        sent="usageMetadata.promptTokenCount",
        received="usageMetadata.candidatesTokenCount",
        total="usageMetadata.totalTokenCount",
    )
    path = "/v1beta/models/{model}:generateContent"
    return Provider(
        base_url="https://generativelanguage.googleapis.com",
        auth="x-goog-api-key",
        models_path="/v1beta/models",
        integration=Integration(name="gemini", endpoints={path: _endpoint(example, tokens)}),
    )


def _cohere() -> Provider:
    example = {"messages": [{"role": "user", "content": "Hello"}]}
    tokens = IntegrationEndpointToken(
        sent="usage.tokens.input_tokens", received="usage.tokens.output_tokens"
    )
    return Provider(
        base_url="https://api.cohere.com",
        integration=Integration(name="cohere", endpoints={"/v2/chat": _endpoint(example, tokens)}),
    )


def built_in() -> dict[str, Provider]:
    """The providers every installation knows, by name."""
    providers = [
        _openai_like("openai", "https://api.openai.com"),
        _openai_like("mistral", "https://api.mistral.ai"),
        _openai_like("deepseek", "https://api.deepseek.com"),
        _openai_like("xai", "https://api.x.ai"),
        _openai_like("groq", "https://api.groq.com/openai"),
        _openai_like("cerebras", "https://api.cerebras.ai"),
        *map(
            _openai_like,
            (
                "azure-ai-inference",
                "azure-marketplace",
                "azure-openai-service",
                "hf_private_endpoint",
                "hf_public_endpoint",
                "huggingface",
                "public_model",
                "vertexai",
            ),
        ),
        _anthropic(),
        _gemini(),
        _cohere(),
    ]
    return {provider.integration.name: provider for provider in providers}


class Providers:
    """The built-in providers and those of the operator's file, which win by name."""

    def __init__(self, files: CatalogueFiles) -> None:
        self._files = files
        self._built_in = built_in()

    def find(self, name: str) -> Provider | None:
        """The provider of that name, or ``None``."""
        for own in self._files.read("integrations", IntegrationsFile).integrations:
            if own.name == name:
                return _own(own)
        return self._built_in.get(name)

    def integration(self, name: str) -> Integration:
        """What clients see of a provider.

        Raises:
            NotFound: there is none of that name.
        """
        provider = self.find(name)
        if provider is None:
            raise NotFound(
                f"There is no integration named {name[:80]!r}; built in are "
                f"{', '.join(sorted(self._built_in))}.",
                code="INTEGRATION_NOT_FOUND",
            )
        return provider.integration

    def of_connection(self, spec: dict[str, Any]) -> tuple[Provider, str]:
        """The provider of a connection, and the base URL it is called at.

        An unknown integration with a base URL of its own is taken as OpenAI-compatible.

        Raises:
            BadRequest: there is no base URL.
        """
        name = spec["integration"]
        provider = self.find(name) or _openai_like(name)
        base = (spec.get("config") or {}).get("baseUrl") or provider.base_url
        if not base:
            raise BadRequest(
                f"This connection has no spec.config.baseUrl, and the integration {name[:60]!r} "
                "has none of its own: set it to the provider's API, such as "
                "http://127.0.0.1:11434/v1."
            )
        return provider, base.rstrip("/").removesuffix("/v1")


def configurations(provider: Provider, base: str) -> list[EndpointConfiguration]:
    """Every endpoint of a provider as a connection calls it."""
    endpoints = provider.integration.endpoints or {}
    return [
        EndpointConfiguration(path=path, method=endpoint.method or "POST", url=base + path)
        for path, endpoint in endpoints.items()
    ]


def _own(own: OwnIntegration) -> Provider:
    fields = {field: getattr(own, field) for field in Integration.__struct_fields__}
    integration = Integration(**fields)
    integration.endpoints = integration.endpoints or _chat()
    return Provider(integration=integration, base_url=own.base_url)
