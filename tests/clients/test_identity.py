"""Workspaces, people and machines through the official Python SDK, both releases, unmodified."""

import pytest

from .conftest import Run

pytestmark = pytest.mark.clients


def test_identity_with_the_generated_functions(python: Run) -> None:
    assert "done" in python("identity.py")
