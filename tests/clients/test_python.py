"""The official Python SDK, both releases, unmodified: `serai exec -- python program.py`."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from platform_server import KEY, Server

from .conftest import Run
from .model_server import USAGE, ModelServer

pytestmark = [pytest.mark.clients, pytest.mark.sandbox]
PROVIDER_KEY = "sk-of-the-provider"
STRANGE_KEY = "a-key-that-this-server-never-made"


def test_a_sandbox_with_the_asynchronous_api(python: Run) -> None:
    assert "done" in python("sandboxes_async.py")


def test_a_sandbox_with_the_synchronous_api(python: Run) -> None:
    assert "done" in python("sandboxes_sync.py")


def test_tools_code_and_input_of_a_sandbox(python: Run) -> None:
    assert "done" in python("sandbox_api.py")


def test_previews_sessions_and_schedules(python: Run) -> None:
    assert "done" in python("parts.py")


def test_snapshots_forks_and_archives(python: Run) -> None:
    assert "done" in python("snapshots.py")


def test_agents_and_the_results_of_their_calls(python: Run) -> None:
    assert "done" in python("agents.py")


def test_stored_resources_with_the_generated_functions(python: Run) -> None:
    assert "done" in python("resources.py")


def test_a_model_where_the_sdk_looks_for_it(
    python: Run, model_server: ModelServer, server: Server
) -> None:
    before = len(model_server.calls)
    name = python("models.py", model_server.url, PROVIDER_KEY).strip()
    calls = model_server.calls[before:]
    assert [call.path for call in calls] == ["/v1/chat/completions"] * 3
    for call in calls:
        assert call.headers["authorization"] == f"Bearer {PROVIDER_KEY}"
        assert call.body["model"] == "small-1"
        assert KEY not in str(call.headers)
        assert not [header for header in call.headers if header.startswith("x-blaxel")]
    asked, answered = USAGE["prompt_tokens"], USAGE["completion_tokens"]
    expected = {
        "model_input_tokens_count": 3 * asked,
        "model_output_tokens_count": 3 * answered,
        "model_requests_count": 3,
    }
    deadline = time.monotonic() + 10  # model calls arrive on the bill within a second
    while (found := billed(server, name)) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found == expected


def billed(server: Server, name: str) -> dict[str, float]:
    """Usage of one resource on the account's bill, by dimension."""
    now = datetime.now(UTC)
    params = {
        "startTime": (now - timedelta(hours=1)).isoformat(),
        "endTime": (now + timedelta(hours=1)).isoformat(),
        "groupBy": "billing_dimension",
        "resourceName": name,
    }
    [account] = server.client.get("/v0/accounts").json()
    answer = server.client.get(f"/v0/accounts/{account['id']}/metrics", params=params).json()
    return {group["billingDimension"]: group["summary"]["usage"] for group in answer["data"]}


def test_errors_are_the_sdks_own(python: Run) -> None:
    assert "done" in python("failures.py")


def test_a_wrong_key(python: Run) -> None:
    assert "done" in python("wrong_key.py", wrapper=("env", f"BL_API_KEY={STRANGE_KEY}"))
