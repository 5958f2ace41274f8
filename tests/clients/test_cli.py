"""The official CLI `bl`, unmodified: signing in, and what follows."""

import json
from pathlib import Path

import pytest

from platform_server import KEY, Server

from .blaxel_cli import Cli, claims, is_built
from .machines import Machine

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(
        not is_built(),
        reason="NOT TESTED WITH THE REAL CLI, which is not built (see `make clients`): "
        "test_cli_wire replays what it sends",
    ),
]
KINDS = {
    "agents": "agents",
    "applications": "applications",
    "drives": "drives",
    "functions": "functions",
    "images": "images",
    "integrationconnections": "integrations/connections",
    "jobs": "jobs",
    "models": "models",
    "policies": "policies",
    "sandboxes": "sandboxes",
    "volumes": "volumes",
    "volumetemplates": "volume_templates",
}


@pytest.fixture
def bl(tmp_path: Path, server: Server) -> Cli:
    return Cli(tmp_path / "home", server)


@pytest.fixture
def machine(server: Server) -> Machine:
    return Machine(server)


def can_read(bl: Cli) -> None:
    """Every kind of resource can be listed with what is stored."""
    for kind in KINDS:
        json.loads(bl("get", kind, "-o", "json"))


def test_login_with_an_api_key(bl: Cli) -> None:
    assert "Successfully logged in to workspace main" in bl("login", "main", BL_API_KEY=KEY)
    assert bl.credentials() == {"apiKey": KEY}
    assert bl.config["workspaces"][0]["id"].startswith("ws-")
    assert bl.config_file.stat().st_mode & 0o777 == 0o600
    assert bl("token").strip() == KEY
    assert "main" in bl("workspaces")
    can_read(bl)


def test_a_wrong_api_key_is_not_stored(bl: Cli) -> None:
    printed = bl("login", "main", fails=True, BL_API_KEY="bl_wrong")
    assert 'permission denied for workspace "main"' in printed
    assert not bl.config_file.exists()


def test_login_with_client_credentials(bl: Cli, machine: Machine) -> None:
    printed = bl("login", "main", BL_CLIENT_CREDENTIALS=machine.basic)
    assert "Successfully stored client credentials" in printed
    assert bl.credentials() == {"client_credentials": machine.basic}
    said = claims(bl("token").strip())
    assert (said["sub"], said["workspace"]) == (machine.client_id, "main")
    assert said["exp"] - said["iat"] == 7200
    can_read(bl)
    bl("get", "models", BL_CLIENT_CREDENTIALS=machine.basic)


def test_client_credentials_from_the_environment_alone(bl: Cli, machine: Machine) -> None:
    """As in a CI job: nothing is stored."""
    given = {"BL_CLIENT_CREDENTIALS": machine.basic, "BL_WORKSPACE": "main"}
    assert json.loads(bl("get", "agents", "-o", "json", **given)) == []
    assert not bl.config_file.exists()


def test_client_credentials_end_with_the_service_account(bl: Cli, machine: Machine) -> None:
    bl("login", "main", BL_CLIENT_CREDENTIALS=machine.basic)
    machine.delete()
    assert "token request returned status 400" in bl("get", "agents", fails=True)
    printed = bl("login", "main", fails=True, BL_CLIENT_CREDENTIALS=machine.basic)
    assert 'permission denied for workspace "main"' in printed
