"""Each adapter of the SDKs for an agent framework, with a model of each provider type.

Every one is asked plainly, with a stream, and with a tool that it must call. The providers are
`providers/serve.py`: their answers are of the types of the providers' official SDKs, and they
refuse what those types do not have. Then SmolLM2-135M, a real model on llama.cpp's own server, is
asked plainly and with a stream.
"""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from platform_server import KEY, Server

from .conftest import MODELS, SECRET, SMALL, TOKEN, Found, Providers, Run

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(600)]
PLAIN = "Five words come from here"
PIECES = ["Five", " words", " come", " from", " here"]
ONLY_OPENAI = "Invalid model type"
NO_STREAMS = "Streamed requests not supported by this TokenRefreshingModel"
NO_GEMINI = "not yet supported for Google Gemini provider"
OTHERS = [kind for kind in MODELS if kind != "openai"]
SAID_BY_USER = "results of tools are sent as words of the user: the model asks once more"
WAYS = ("plain", "stream", "tool")

FAULTS: dict[str, dict[tuple[str, str], str]] = {
    "openai.py": {(kind, way): ONLY_OPENAI for kind in OTHERS for way in WAYS},
    "langgraph.py": {("gemini", "stream"): "object async_generator can't be used in 'await'"},
    "llamaindex.py": {
        ("cohere", "stream"): "got generator",
        ("cohere", "tool"): "unexpected keyword argument 'tool_required'",
    },
    "crewai.py": {
        **{("gemini", way): NO_GEMINI for way in WAYS},
        **{("xai", way): "has no attribute 'service_tier'" for way in ("plain", "tool")},
    },
    "googleadk.py": {("cohere", "stream"): "Error parsing chunk"},
    "pydantic.py": {(kind, "stream"): NO_STREAMS for kind in MODELS},
    "livekit.py": {},
    "langgraph.mjs": {("gemini", "tool"): SAID_BY_USER},
    "llamaindex.mjs": {},
}
"""What does not work for reasons of the SDK or the framework alone: nothing that is asked of Serai
would change it. Each is what its message says, and a release that mends it fails the test."""

NEWER = (*WAYS, "stream_of_responses", "tool_of_responses")
MORE = {"langgraph.py": {"openai": NEWER, "azure-openai-service": NEWER}}
"""Who is asked by OpenAI's responses API as well."""

UNTOLD = ("azure-ai-inference", "cohere")
"""Providers whose streams of the OpenAI shape tell no tokens, and which refuse to be asked."""

LAST = {"pydantic.py": "gemini"}
"""A type to try at the end: the SDK's adapter turns its client of the API to that model's URL."""


def wrong(framework: str, found: Found) -> str:
    """What is not as it should be; empty for nothing."""
    if found.model == SMALL:
        fault = FAULTS[framework].get(("openai", found.way))
    else:
        fault = FAULTS[framework].get((found.model, found.way))
    if fault == SAID_BY_USER:
        return str(found) if found.text else ""
    if fault is not None:
        return "" if fault in found.error else f"expected the fault {fault!r}: {found}"
    if found.error:
        return str(found)
    if found.model == SMALL:
        right = bool(found.text.strip()) and (found.way == "plain" or len(found.pieces) > 1)
    elif found.way.startswith("tool"):
        right = found.text.startswith("The tool said: ") and "It is sunny in Paris." in found.text
    elif found.way.startswith("stream"):
        right = [piece for piece in found.pieces if piece] == PIECES
    else:
        right = found.text == PLAIN
    return "" if right else str(found)


@pytest.mark.parametrize("framework", FAULTS)
def test_an_adapter(
    framework: str,
    server: Server,
    models: list[str],
    small_model: str,
    providers: Providers,
    run: Run,
) -> None:
    before, begun = len(providers.calls()), datetime.now(UTC)
    last = LAST.get(framework)
    asked = {small_model: WAYS[:2]} | dict.fromkeys(models, WAYS) | MORE.get(framework, {})
    found = run(framework, dict(sorted(asked.items(), key=lambda each: each[0] == last)))
    assert len(found) == sum(map(len, asked.values()))
    assert not list(filter(None, (wrong(framework, each) for each in found)))
    calls = providers.calls()[before:]
    assert not [call for call in calls if call["refused"]]
    clean(calls)
    counted(server, calls, begun)


def clean(calls: list[dict[str, Any]]) -> None:
    """Nothing of the client's credentials has reached a provider, and the provider's key has."""
    for call in calls:
        told = str((call["path"], call["query"], call["headers"]))
        assert KEY not in told
        assert "x-blaxel" not in told
        assert (TOKEN if "/vertexai/" in call["path"] else SECRET) in told


def counted(server: Server, calls: list[dict[str, Any]], begun: datetime) -> None:
    """The gateway has read the tokens of every answer, or where none are told, counted events."""
    expected = sorted(call["path"].split("/")[1] for call in calls if call["method"] == "POST")
    deadline = time.monotonic() + 30
    asked = requests(server, begun)
    while len(asked) < len(expected) and time.monotonic() < deadline:
        time.sleep(0.2)
        asked = requests(server, begun)
    assert sorted(row["model"] for row in asked) == expected
    for row in asked:
        tokens = row.get("tokens") or {}
        estimated = row["model"] in UNTOLD and tokens.get("estimated")
        told = (tokens.get("input"), tokens.get("output"))
        assert estimated or told == (11, 5), row


def requests(server: Server, begun: datetime) -> list[dict[str, Any]]:
    """All questions to models since a time, but for those to the small one."""
    found: list[dict[str, Any]] = []
    params = {"startTime": begun.isoformat(), "limit": "100"}
    while True:
        page = server.client.get("/v0/model-requests", params=params).json()
        found += page["data"]
        if not page["meta"]["hasMore"]:
            break
        params["cursor"] = page["meta"]["nextCursor"]
    return [row for row in found if row["operation"] != "other" and row["model"] != SMALL]
