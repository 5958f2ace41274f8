"""`bl login` with a browser, and what a stored login goes through later."""

import re
import subprocess
import time
from pathlib import Path

import pytest

from platform_server import Server

from .blaxel_cli import Cli, claims
from .browser import Browser
from .test_cli import can_read, pytestmark

__all__ = ["pytestmark"]
LINK = re.compile(r"http://\S+user_code=\S+")


def begin(bl: Cli, *workspace: str) -> tuple[subprocess.Popen[str], str]:
    """Start `bl login`; returns it, and the link that it shows."""
    process = bl.start("login", *workspace)
    assert process.stdout
    for line in process.stdout:
        if found := LINK.search(line):
            return process, found[0]
    raise AssertionError("bl showed no link")


def ended(process: subprocess.Popen[str]) -> str:
    """What a command printed from now on, and how it ended."""
    return f"{process.communicate(timeout=60)[0]} exit status {process.returncode}"


@pytest.fixture
def bl(tmp_path: Path, server: Server) -> Cli:
    return Cli(tmp_path / "home", server)


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory, server: Server, browser: Browser) -> Path:
    """A configuration file right after `bl login`."""
    bl = Cli(tmp_path_factory.mktemp("login") / "home", server)
    process, link = begin(bl)
    browser.approve(link)
    assert "Successfully logged in to workspace main exit status 0" in ended(process).replace(
        "\n", ""
    )
    return bl.config_file


def test_login_in_a_browser(bl: Cli, server: Server, browser: Browser) -> None:
    process, link = begin(bl)
    assert link.startswith(f"{server.url}/device?user_code=")
    time.sleep(4)  # a poll goes by without an answer
    browser.approve(link)
    assert "Successfully logged in to workspace main" in ended(process)
    stored = bl.credentials()
    assert stored.keys() == {"access_token", "refresh_token", "expires_in", "device_code"}
    assert (stored["expires_in"], claims(stored["access_token"])["workspace"]) == (7200, "main")
    assert bl("token").strip() == stored["access_token"]
    assert "main" in bl("workspaces")
    can_read(bl)
