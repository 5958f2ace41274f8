"""The official SDKs, unmodified, signed in as a machine or as a person instead of with a key."""

import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from platform_server import Server

from .blaxel_cli import expired
from .conftest import Run
from .machines import Machine
from .model_server import ModelServer
from .person import Person

pytestmark = [pytest.mark.clients, pytest.mark.sandbox]
OWN = ("--own-credentials",)


@pytest.fixture(scope="module")
def model(server: Server, model_server: ModelServer) -> str:
    """The name of a model that anybody in the workspace may call."""
    name = f"shared-{uuid.uuid4().hex[:8]}"
    config = {"baseUrl": model_server.url}
    connection = {"integration": "openai", "secret": {"apiKey": "sk"}, "config": config}
    runtime = {"type": "openai", "model": "small-1"}
    spec = {"runtime": runtime, "integrationConnections": [name]}
    for path, part in (("integrations/connections", connection), ("models", spec)):
        body = {"metadata": {"name": name}, "spec": part}
        assert server.client.post(f"/v0/{path}", json=body).is_success
    return name


def with_own(client: Run, **environ: str) -> Callable[..., str]:
    """Runs programs with credentials of the shell, or of the home directory."""
    return partial(client, options=OWN, environ=environ)


def as_machine(client: Run, machine: Machine) -> Callable[..., str]:
    """Runs programs as a CI job does."""
    return with_own(client, BL_CLIENT_CREDENTIALS=machine.basic, BL_WORKSPACE="main")


def store(home: Path, credentials: dict[str, Any]) -> None:
    """Write the configuration file that `bl login` would have written."""
    workspaces = [{"name": "main", "credentials": credentials}]
    config = {"context": {"workspace": "main"}, "workspaces": workspaces, "tracking": False}
    (home / ".blaxel").mkdir(exist_ok=True)
    (home / ".blaxel" / "config.yaml").write_text(yaml.safe_dump(config))


def test_the_python_sdk_as_a_machine(python: Run, server: Server, model: str) -> None:
    machine = Machine(server)
    assert machine.client_id in as_machine(python, machine)("signed_in.py", model)


def test_the_typescript_sdk_as_a_machine(node: Run, server: Server, model: str) -> None:
    machine = Machine(server)
    assert machine.client_id in as_machine(node, machine)("signed_in.mjs", model)


def test_the_python_sdk_with_a_stored_login(
    python: Run, person: Person, model: str, tmp_path: Path
) -> None:
    login = person.login()
    for token in (login["access_token"], expired(login["access_token"])):
        store(tmp_path, login | {"access_token": token})
        assert person.sub in with_own(python)("signed_in.py", model)


def test_the_typescript_sdk_with_a_stored_login(
    node: Run, person: Person, model: str, tmp_path: Path
) -> None:
    login = person.login()
    for token in (login["access_token"], expired(login["access_token"])):
        store(tmp_path, login | {"access_token": token})
        assert person.sub in with_own(node)("signed_in.mjs", model)


def test_the_typescript_sdk_with_an_access_token_as_its_key(
    node: Run, person: Person, model: str
) -> None:
    run = with_own(node, BL_API_KEY=person.login()["access_token"], BL_WORKSPACE="main")
    assert person.sub in run("signed_in.mjs", model)


def test_the_python_sdk_says_that_a_login_has_ended(
    python: Run, person: Person, model: str, tmp_path: Path
) -> None:
    login = person.login()
    store(tmp_path, login | {"access_token": expired(login["access_token"])})
    person.end_logins()
    with pytest.raises(AssertionError, match="Failed to refresh token"):
        with_own(python)("signed_in.py", model)
