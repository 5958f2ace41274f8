"""The official CLI `bl`, unmodified: signing in, and what follows."""

import json
from pathlib import Path

import pytest

from platform_server import KEY, Server

from .blaxel_cli import Cli, is_built

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
