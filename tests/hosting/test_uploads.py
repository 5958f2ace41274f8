"""From uploaded code to an agent that answers."""

import httpx
import pytest

from platform_server import Server
from projects import announce, send, zipped

from .apps import BROKEN, ECHO, until

pytestmark = pytest.mark.sandbox


def upload(api: httpx.Client, name: str, source: str, status: str) -> str:
    """Deploy code as the official clients do; the last event."""
    answer = announce(api, "agents", name)
    assert answer.status_code == 200, answer.text
    assert send(answer, zipped({"main.py": source})).status_code == 200
    seen: list[str] = []

    def done() -> bool:
        found = api.get(f"/v0/agents/{name}").json()
        seen.append(found["status"])
        return "BUILDING" in seen and found["status"] in {"DEPLOYED", "FAILED"}

    until(done, 110)
    found = api.get(f"/v0/agents/{name}").json()
    assert found["status"] == status, found["events"]
    return str(found["events"][-1]["message"])


def test_uploaded_code_serves_and_broken_code_leaves_it_serving(
    api: httpx.Client, server: Server
) -> None:
    upload(api, "uploaded", ECHO.replace('"?"', '"one"'), "DEPLOYED")
    assert api.get("/main/agents/uploaded").json()["who"] == "one"
    first = api.get("/v0/agents/uploaded").json()["spec"]["revision"]["active"]
    assert "exit code 3" in upload(api, "uploaded", BROKEN, "FAILED")
    shown = api.get("/v0/agents/uploaded").json()
    assert shown["spec"]["revision"]["active"] == first
    assert api.get("/main/agents/uploaded").json()["who"] == "one"
    upload(api, "uploaded", ECHO.replace('"?"', '"two"'), "DEPLOYED")
    assert api.get("/main/agents/uploaded").json()["who"] == "two"
    shown = api.get("/v0/agents/uploaded").json()
    assert shown["spec"]["revision"]["active"] != first
    api.delete("/v0/agents/uploaded")
