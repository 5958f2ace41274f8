"""The official TypeScript SDK, two releases, unmodified: `serai exec -- node program.mjs`."""

import pytest

from platform_server import Server

from .conftest import Run
from .model_server import ModelServer

pytestmark = [pytest.mark.clients, pytest.mark.sandbox]


def test_a_sandbox_by_environment(node: Run) -> None:
    assert "done" in node("sandboxes.mjs")


def test_a_sandbox_by_a_proxy_named_in_code(node: Run, server: Server) -> None:
    assert "done" in node("sandboxes.mjs", server.url)


def test_snapshots_and_forks(node: Run) -> None:
    assert "done" in node("snapshots.mjs")


def test_tools_and_code_of_a_sandbox(node: Run) -> None:
    assert "done" in node("sandbox_api.mjs")


def test_a_model_by_environment(node: Run, model_server: ModelServer) -> None:
    assert "done" in node("models.mjs", model_server.url, "sk-of-the-provider")


def test_a_model_by_a_proxy_named_in_code(
    node: Run, model_server: ModelServer, server: Server
) -> None:
    assert "done" in node("models.mjs", model_server.url, "sk-of-the-provider", server.url)
