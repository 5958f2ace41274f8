"""Jobs, applications, volumes, templates and drives with the official Python SDK, both releases."""

import pytest

from .conftest import Run

pytestmark = pytest.mark.clients


def test_storage_and_jobs_with_the_sdk(python: Run) -> None:
    assert "done" in python("storage.py")
