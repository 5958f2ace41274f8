"""Where `make clients` puts the official SDKs, and which of them are there."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "clients"
PYTHON_VERSIONS = ("0.4.24", "0.4.3")
TYPESCRIPT_VERSIONS = ("0.3.21", "0.2.95")


def directory(language: str, version: str) -> Path:
    """The environment of one SDK; skips the test when it was not made."""
    found = CACHE / f"{language}-{version}"
    if not (found / ".ready").exists():
        pytest.skip(f"the official SDK {language} {version} is not installed: run `make clients`")
    return found
