"""The environment that the official clients are installed in."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLACE = ".cache/clients/py-0.4.24"
BL = ROOT / ".cache/clients/bl/bl"
NODE_MODULES = ROOT / ".cache/clients/ts-0.3.21/node_modules"


def client_venv() -> Path:
    """A virtual environment with the package blaxel; skips the test when there is none."""
    if (ROOT / PLACE / "bin/python").exists():
        return ROOT / PLACE
    pytest.skip("NOT TESTED: the official Python SDK is not installed; run `make clients`")
