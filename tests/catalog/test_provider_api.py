"""Where each family's requests go, and what of a body names the model."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.catalog.provider_api import Family, Place, ProviderApi, place_of

VERTEX = "/v1/projects/p/locations/l"


def at(family: Family, rest: str, model: str | None = "m", base: str = "", **api: object) -> Place:
    return place_of(ProviderApi(family=family, **api), base, rest, model)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("family", "base", "rest", "path"),
    [
        ("openai", "", "/v1/chat/completions", "/v1/chat/completions"),
        ("openai", "", "/chat/completions", "/v1/chat/completions"),
        ("openai", "/openai", "/openai/v1/chat/completions", "/openai/v1/chat/completions"),
        ("openai", "/openai", "/v1/models", "/openai/v1/models"),
        ("openai", "", "/anthropic/v1/messages", "/anthropic/v1/messages"),
        ("openai", "", "/beta/completions", "/beta/completions"),
        ("openai", "", "/api/chat", "/api/chat"),
        ("anthropic", "", "/v1/messages/batches", "/v1/messages/batches"),
        ("cohere", "", "/v2/rerank", "/v2/rerank"),
        ("cohere", "", "/v1/chat", "/v1/chat"),
        ("cohere", "", "/chat/completions", "/compatibility/v1/chat/completions"),
        ("google", "", "/v1beta/models/x:countTokens", "/v1beta/models/m:countTokens"),
        ("google", "", "/v1beta/models/x", "/v1beta/models/m"),
        ("google", "", "/v1beta/models/x/models/x:embedContent", "/v1beta/models/m:embedContent"),
        ("google", "", "/v1beta/models", "/v1beta/models"),
        ("google", "", "/v1/chat/completions", "/v1beta/openai/chat/completions"),
        (
            "vertex",
            "",
            "/v1beta/models/x:generateContent",
            f"{VERTEX}/publishers/google/models/m:generateContent",
        ),
        (
            "vertex",
            "",
            "/v1beta1/projects/p/locations/l/publishers/google/models/x:predict",
            "/v1beta1/projects/p/locations/l/publishers/google/models/m:predict",
        ),
        ("vertex", "", "/v1/chat/completions", f"{VERTEX}/endpoints/openapi/chat/completions"),
        ("azure-openai", "", "/v1/responses", "/openai/v1/responses"),
        ("azure-openai", "/openai", "/v1/responses", "/openai/v1/responses"),
        (
            "azure-openai",
            "",
            "/openai/deployments/x/embeddings",
            "/openai/deployments/m/embeddings",
        ),
        ("azure-ai", "/models", "/v1/chat/completions", "/models/chat/completions"),
        ("azure-ai", "/models", "/models/embeddings", "/models/embeddings"),
    ],
)
def test_paths(family: Family, base: str, rest: str, path: str) -> None:
    assert at(family, rest, base=base, project="p", location="l").path == path


def test_a_dated_version_of_azure_names_the_deployment() -> None:
    query = (("api-version", "2024-10-21"),)
    path = at("azure-openai", "/v1/chat/completions", "gpt/4", query=query).path
    assert path == "/openai/deployments/gpt%2F4/chat/completions"
    assert at("azure-openai", "/v1/files", query=query).path == "/openai/files"


@pytest.mark.parametrize(
    ("family", "rest", "model", "adds"),
    [
        ("openai", "/v1/chat/completions", "m", True),
        ("openai", "/v1/batches", "m", False),
        ("google", "/v1beta/models/x:generateContent", None, False),
        ("vertex", "/v1/chat/completions", "google/m", True),
        ("cohere", "/v2/rerank", "m", True),
    ],
)
def test_the_models_name(family: Family, rest: str, model: str | None, adds: bool) -> None:
    place = at(family, rest)
    assert (place.model, place.adds_model) == (model, adds)


VISIBLE = st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#")


@given(
    st.sampled_from(get_args(Family)),
    st.text(VISIBLE, min_size=1),
    st.text(min_size=1, max_size=20),
    st.sampled_from(["", "/base"]),
)
def test_no_name_breaks_out_of_the_path(family: Family, rest: str, model: str, base: str) -> None:
    """Whatever a model is called, it adds no segment, query or line of its own."""
    path = at(family, f"/v1beta/models/{rest}:generateContent", model, base).path
    with_plain = at(family, f"/v1beta/models/{rest}:generateContent", "m", base).path
    assert path.count("/") == with_plain.count("/")
    assert path.count("?") == with_plain.count("?")
    assert not set(path) & set("\r\n ")
