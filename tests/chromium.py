"""A real browser, headless."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def open_chromium(home: Path | None = None) -> Iterator[Chromium]:
    """A browser; with ``home`` it trusts what that home directory's store of certificates has."""
    if CHROMIUM is None:
        pytest.skip("NOT TESTED: the pages in a real browser; install chromium")
    environ = {name: value for name, value in os.environ.items() if name != "HOME"}
    environ["HOME"] = str(home or os.environ.get("HOME", "/"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, env=dict(environ)
        )
        yield browser
        browser.close()


def trust(authority: Path, home: Path) -> None:
    """Put a certificate authority into a home directory's store, as `serai ca` says."""
    if shutil.which("certutil") is None:
        pytest.skip("NOT TESTED: that browsers trust our authority; install libnss3-tools")
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    where = ["certutil", "-d", f"sql:{store}"]
    subprocess.run([*where, "-N", "--empty-password"], check=True, capture_output=True)
    add = [*where, "-A", "-t", "C,,", "-n", "Serai", "-i", str(authority)]
    subprocess.run(add, check=True, capture_output=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """A browser for the tests of a module."""
    with open_chromium() as browser:
        yield browser
