"""The official SDKs, unmodified, signed in as a machine or as a person instead of with a key."""

from collections.abc import Callable
from functools import partial

import pytest

from platform_server import Server

from .conftest import Run
from .machines import Machine
from .model_server import ModelServer

pytestmark = [pytest.mark.clients, pytest.mark.sandbox]
OWN = ("--own-credentials",)


@pytest.fixture(scope="module")
def machine(server: Server) -> Machine:
    """A service account that may set a model up."""
    return Machine(server, role="admin")


def as_machine(client: Run, machine: Machine) -> Callable[..., str]:
    """A client with what `BL_CLIENT_CREDENTIALS` holds in a CI job."""
    environ = {"BL_CLIENT_CREDENTIALS": machine.basic, "BL_WORKSPACE": "main"}
    return partial(client, options=OWN, environ=environ)


def test_the_python_sdk_as_a_machine(
    python: Run, machine: Machine, model_server: ModelServer
) -> None:
    run = as_machine(python, machine)
    assert "done" in run("sandboxes_sync.py")
    assert "done" in run("sandboxes_async.py")
    run("models.py", model_server.url, "sk")


def test_the_typescript_sdk_as_a_machine(
    node: Run, machine: Machine, model_server: ModelServer
) -> None:
    run = as_machine(node, machine)
    assert "done" in run("sandboxes.mjs")
    assert "done" in run("models.mjs", model_server.url, "sk")
