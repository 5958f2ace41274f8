"""`bl login` with a browser, and what a stored login goes through later."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium
from sqlalchemy import update

from chromium import chromium
from platform_server import Server
from serai.kernel.clock import now, rfc3339
from serai.store.database import Database
from serai.store.tables.oauth import device_codes

from .blaxel_cli import Cli, claims
from .person import EMAIL, PASSWORD, Person
from .test_cli import can_read, pytestmark

__all__ = ["chromium", "pytestmark"]
LINK = re.compile(r"http://\S+user_code=\S+")


def begin(bl: Cli) -> tuple["subprocess.Popen[str]", str]:
    """Start `bl login`; returns it, and the link that it shows."""
    process = bl.start("login")
    assert process.stdout
    for line in process.stdout:
        if found := LINK.search(line):
            return process, found[0]
    raise AssertionError("bl showed no link")


def ended(process: "subprocess.Popen[str]") -> str:
    """What a command printed from now on, and its exit status."""
    printed = process.communicate(timeout=60)[0]
    assert "panic:" not in printed, printed
    return f"{printed} exit status {process.returncode}"


def signed_in(bl: Cli, person: Person) -> Cli:
    """`bl login`, in full."""
    process, link = begin(bl)
    person.approve(link)
    assert "Successfully logged in to workspace main" in ended(process)
    return bl


@pytest.fixture
def bl(tmp_path: Path, server: Server) -> Cli:
    return Cli(tmp_path / "home", server)


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    """The server's, as a maintenance command opens it."""
    database = Database(server.data_dir / "serai.db")
    database.open()
    yield database
    database.close()


def test_login_in_a_browser(bl: Cli, server: Server, person: Person) -> None:
    process, link = begin(bl)
    assert link.startswith(f"{server.url}/device?user_code=")
    time.sleep(3.5)  # the first poll finds no answer yet
    person.approve(link)
    assert "Successfully logged in to workspace main" in ended(process)
    stored = bl.credentials()
    assert stored.keys() == {"access_token", "refresh_token", "expires_in", "device_code"}
    assert (stored["expires_in"], claims(stored["access_token"])["workspace"]) == (7200, "main")
    assert bl("token").strip() == stored["access_token"]
    assert "main" in bl("workspaces")
    can_read(bl)


def test_login_in_a_real_browser(bl: Cli, person: Person, chromium: Chromium) -> None:
    """Where nobody is signed in yet."""
    process, link = begin(bl)
    page = chromium.new_page()
    page.goto(link)
    page.fill("#email", EMAIL)
    page.fill("#password", PASSWORD)
    page.click("main button")
    page.get_by_role("button", name="Let it in").click()
    page.get_by_text("The device is connected").wait_for()
    page.close()
    assert "Successfully logged in to workspace main" in ended(process)
    bl("get", "agents")


def test_refused_and_forgotten_logins(bl: Cli, person: Person, database: Database) -> None:
    refused, link = begin(bl)
    person.deny(link)
    forgotten, link = begin(bl)
    old = update(device_codes).where(device_codes.c.user_code == link.rpartition("=")[2])
    past = old.values(expires_at=rfc3339(now() - timedelta(seconds=1)))
    database.submit(lambda conn: conn.execute(past)).result()
    for process, code in ((refused, "access_denied"), (forgotten, "expired_token")):
        printed = ended(process)
        assert f'authentication failed with status 400: {{"error":"{code}"' in printed
        assert "exit status 1" in printed
    assert not bl.config_file.exists()


def test_an_expired_token_is_refreshed_and_written_back(bl: Cli, person: Person) -> None:
    before = signed_in(bl, person).credentials()
    for command in (("token",), ("get", "agents")):
        bl.let_token_expire()
        bl(*command)
        after = bl.credentials()
        assert after["access_token"] != before["access_token"]
        assert after["refresh_token"] != before["refresh_token"]
        assert after["device_code"] == before["device_code"]
        assert claims(after["access_token"])["exp"] > time.time() + 7000
        before = after
    assert bl("token").strip() == after["access_token"]


def test_two_processes_refresh_at_once(bl: Cli, server: Server, person: Person) -> None:
    """Each with its own copy of the file: the CLI does not lock it while it writes."""
    signed_in(bl, person).let_token_expire()
    second = Cli(bl.home.with_name("second"), server)
    shutil.copytree(bl.config_file.parent, second.config_file.parent)
    processes = [one.start("token") for one in (bl, second)]
    tokens = {ended(process) for process in processes}
    assert len(tokens) == 2
    assert all("exit status 0" in token for token in tokens), tokens
    bl.let_token_expire()
    bl("token")


def test_what_happens_when_access_is_taken_away(bl: Cli, person: Person) -> None:
    signed_in(bl, person)
    person.end_logins()
    refused = bl("get", "agents", fails=True)
    assert "401 Unauthorized" in refused
    assert "`bl login`" in refused
    bl.let_token_expire()
    for command in (("get", "agents"), ("token",)):
        assert "sign in again" in bl(*command, fails=True)
    signed_in(bl, person)
    can_read(bl)
