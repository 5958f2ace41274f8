"""The providers that every installation knows."""

from typing import Any

import msgspec

from serai.catalog.provider_api import Auth, Family
from serai.wire.catalog import Integration, IntegrationEndpoint, IntegrationEndpointToken

ANTHROPIC_VERSION = "2023-06-01"
CONFLICTS = (408, 409, 429)
"""What SDKs try again whose makers take 409 for a lock that is gone a moment later."""


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider.

    Attributes:
        integration: what clients see; its ``headers`` go with each request, its ``params`` into
            each query, unless the client sends its own.
        base_url: origin and path of its API, without ``/v1``; ``None`` when only a connection
            can say. ``{location}`` stands for ``spec.config.location``.
        base_hint: what such a URL looks like, for messages.
        family: whose paths and shapes it has.
        auth: the header that carries the key.
        asks_usage: its streams count tokens only when asked; others would refuse the question,
            or count anyway.
        drops_usage: it refuses clients that ask.
        models_path: where it lists its models, as clients of its family write it.
        retryable: statuses below 500 that its own SDK tries again; it does with those above.
    """

    integration: Integration
    base_url: str | None = None
    base_hint: str = "http://127.0.0.1:11434/v1"
    family: Family = "openai"
    auth: Auth = "bearer"
    asks_usage: bool = True
    drops_usage: bool = False
    models_path: str = "/v1/models"
    retryable: tuple[int, ...] = (408, 429)


_TOKENS = IntegrationEndpointToken(
    sent="usage.prompt_tokens", received="usage.completion_tokens", total="usage.total_tokens"
)
_NEW_TOKENS = IntegrationEndpointToken(
    sent="usage.input_tokens", received="usage.output_tokens", total="usage.total_tokens"
)
_MESSAGE_TOKENS = IntegrationEndpointToken(
    sent="usage.input_tokens", received="usage.output_tokens"
)
_GEMINI_TOKENS = IntegrationEndpointToken(
    sent="usageMetadata.promptTokenCount",
    received="usageMetadata.candidatesTokenCount",
    total="usageMetadata.totalTokenCount",
)
_COHERE_TOKENS = IntegrationEndpointToken(
    sent="usage.tokens.input_tokens", received="usage.tokens.output_tokens"
)
_COHERE_STREAM = IntegrationEndpointToken(
    sent="delta.usage.tokens.input_tokens", received="delta.usage.tokens.output_tokens"
)
_HELLO = [{"role": "user", "content": "Hello"}]


def _endpoint(
    example: dict[str, Any],
    tokens: IntegrationEndpointToken,
    stream_key: str | None = None,
    stream: IntegrationEndpointToken | None = None,
) -> IntegrationEndpoint:
    return IntegrationEndpoint(
        method="POST",
        body=msgspec.json.encode(example).decode(),
        token=tokens,
        stream_key=stream_key,
        stream_token=stream,
    )


def chat_endpoints() -> dict[str, IntegrationEndpoint]:
    """What every API of the OpenAI shape has."""
    chat = _endpoint({"messages": _HELLO}, _TOKENS, "choices.0.delta.content", _TOKENS)
    return {"/v1/chat/completions": chat}


def _embeddings() -> dict[str, IntegrationEndpoint]:
    tokens = IntegrationEndpointToken(sent="usage.prompt_tokens", total="usage.total_tokens")
    return {"/v1/embeddings": _endpoint({"input": "Hello"}, tokens)}


def _responses() -> dict[str, IntegrationEndpoint]:
    stream = IntegrationEndpointToken(
        sent="response.usage.input_tokens",
        received="response.usage.output_tokens",
        total="response.usage.total_tokens",
    )
    return {"/v1/responses": _endpoint({"input": "Hello"}, _NEW_TOKENS, "delta", stream)}


def openai_like(name: str, base_url: str | None = None, **fields: Any) -> Provider:
    """A provider whose API has the OpenAI shape."""
    endpoints = fields.pop("endpoints", None) or chat_endpoints()
    params, headers = fields.pop("params", None), fields.pop("headers", None)
    return Provider(
        integration=Integration(name=name, endpoints=endpoints, headers=headers, params=params),
        base_url=base_url,
        **fields,
    )


def _anthropic() -> Provider:
    example = {"max_tokens": 256, "messages": _HELLO}
    stream = IntegrationEndpointToken(
        sent="message.usage.input_tokens", received="usage.output_tokens"
    )
    messages = _endpoint(example, _MESSAGE_TOKENS, "delta.text", stream)
    return Provider(
        base_url="https://api.anthropic.com",
        auth="x-api-key",
        family="anthropic",
        retryable=CONFLICTS,
        integration=Integration(
            name="anthropic",
            endpoints={"/v1/messages": messages},
            headers={"anthropic-version": ANTHROPIC_VERSION},
        ),
    )


def _generate() -> dict[str, IntegrationEndpoint]:
    example = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
    text = "candidates.0.content.parts.0.text"
    return {
        "/v1beta/models/{model}:generateContent": _endpoint(
            example, _GEMINI_TOKENS, text, _GEMINI_TOKENS
        )
    }


def _google() -> list[Provider]:
    return [
        Provider(
            base_url="https://generativelanguage.googleapis.com",
            auth="x-goog-api-key",
            family="google",
            models_path="/v1beta/models",
            integration=Integration(name="gemini", endpoints=_generate()),
        ),
        Provider(
            base_url="https://{location}aiplatform.googleapis.com",
            auth="x-goog-api-key",
            family="vertex",
            integration=Integration(name="vertexai", endpoints=chat_endpoints() | _generate()),
        ),
    ]


def _cohere() -> Provider:
    chat = _endpoint({"messages": _HELLO}, _COHERE_TOKENS, "delta.message.content.text")
    chat.stream_token = _COHERE_STREAM
    return Provider(
        base_url="https://api.cohere.com",
        family="cohere",
        asks_usage=False,
        drops_usage=True,
        retryable=CONFLICTS,
        integration=Integration(name="cohere", endpoints={"/v2/chat": chat}),
    )


def _azure() -> list[Provider]:
    inference = "https://NAME.services.ai.azure.com/models"
    fields: dict[str, Any] = {
        "auth": "api-key",
        "family": "azure-ai",
        "asks_usage": False,
        "headers": {"extra-parameters": "drop"},  # else what it does not know is an error
        "params": {"api-version": "2024-05-01-preview"},
    }
    return [
        openai_like(
            "azure-openai-service",
            auth="api-key",
            family="azure-openai",
            retryable=CONFLICTS,
            base_hint="https://NAME.openai.azure.com",
            endpoints=chat_endpoints() | _embeddings() | _responses(),
        ),
        openai_like("azure-ai-inference", base_hint=inference, **fields),
        openai_like(
            "azure-marketplace",
            base_hint="https://NAME.REGION.models.ai.azure.com",
            **fields,
        ),
    ]


def _hugging_face() -> list[Provider]:
    router = "https://router.huggingface.co"
    return [
        openai_like("huggingface", router),
        openai_like("hf_public_endpoint", router),
        openai_like("public_model", router),
        openai_like(
            "hf_private_endpoint", base_hint="https://NAME.REGION.aws.endpoints.huggingface.cloud"
        ),
    ]


def built_in() -> dict[str, Provider]:
    """The providers every installation knows, by name."""
    everything = chat_endpoints() | _embeddings() | _responses()
    providers = [
        openai_like("openai", "https://api.openai.com", endpoints=everything, retryable=CONFLICTS),
        openai_like(
            "mistral",
            "https://api.mistral.ai",
            asks_usage=False,
            drops_usage=True,
            endpoints=chat_endpoints() | _embeddings(),
        ),
        openai_like("deepseek", "https://api.deepseek.com"),
        openai_like("xai", "https://api.x.ai"),
        openai_like("groq", "https://api.groq.com/openai", retryable=(*CONFLICTS, 498)),
        openai_like("cerebras", "https://api.cerebras.ai", asks_usage=False, retryable=CONFLICTS),
        openai_like("openrouter", "https://openrouter.ai/api"),
        *_hugging_face(),
        *_azure(),
        *_google(),
        _anthropic(),
        _cohere(),
    ]
    return {provider.integration.name: provider for provider in providers}
