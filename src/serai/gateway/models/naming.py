"""What OpenTelemetry's conventions for generative AI call operations and providers."""

from functools import lru_cache

_OPERATIONS = (
    ("/completions", "text_completion"),
    ("/responses", "chat"),
    ("/messages", "chat"),
    ("/chat", "chat"),
    ("/embeddings", "embeddings"),
    ("/embed", "embeddings"),
    (":embedContent", "embeddings"),
    (":batchEmbedContents", "embeddings"),
    (":generateContent", "generate_content"),
    (":streamGenerateContent", "generate_content"),
    (":rawPredict", "chat"),
    (":streamRawPredict", "chat"),
    ("/rerank", "rerank"),
    ("/moderations", "moderation"),
    ("/images/generations", "image_generation"),
    ("/audio/speech", "speech"),
    ("/audio/transcriptions", "transcription"),
)
"""What a path ends with; after the conventions' own names come ours, which they allow."""

_PROVIDERS = {
    "gemini": "gcp.gemini",
    "vertexai": "gcp.vertex_ai",
    "azure-openai-service": "azure.ai.openai",
    "azure-ai-inference": "azure.ai.inference",
    "azure-marketplace": "azure.ai.inference",
    "mistral": "mistral_ai",
    "xai": "x_ai",
    "hf_private_endpoint": "huggingface",
    "hf_public_endpoint": "huggingface",
}


_TELLING = 32
"""Bytes at the end of a path that tell its operation: more than the longest of its names."""


def operation_of(rest: bytes) -> str:
    """``gen_ai.operation.name`` for what follows a model's name in the URL; ``other`` if unknown.

    Source: OpenTelemetry semantic conventions for generative AI, attribute registry.
    """
    return _operation(rest.rstrip(b"/")[-_TELLING:])


@lru_cache(maxsize=1024)
def _operation(end: bytes) -> str:
    path = end.decode("latin-1")
    if path.endswith("/chat/completions"):
        return "chat"
    return next((name for end, name in _OPERATIONS if path.endswith(end)), "other")


def provider_name(provider: str) -> str:
    """``gen_ai.provider.name`` of an integration type; most are named as there already."""
    return _PROVIDERS.get(provider, provider or "custom")
