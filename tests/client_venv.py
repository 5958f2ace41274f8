"""The environment that the official clients are installed in."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLACES = (".cache/clients-venv", ".cache/demo-venv")


def client_venv() -> Path:
    """A virtual environment with the package blaxel; skips the test when there is none."""
    named = os.environ.get("SERAI_CLIENTS_VENV")
    for place in [named] if named else PLACES:
        if (ROOT / place / "bin/python").exists():
            return ROOT / place
    pytest.skip(
        "NOT TESTED: the official SDK is not installed. Run: "
        "scripts/venv .cache/clients-venv requirements/clients.lock"
    )
