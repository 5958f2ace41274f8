"""The official Python SDK, both releases, unmodified: `serai exec -- python program.py`."""

import pytest

from .conftest import Run

pytestmark = [pytest.mark.clients, pytest.mark.sandbox]


def test_a_sandbox_with_the_asynchronous_api(python: Run) -> None:
    assert "done" in python("sandboxes_async.py")


def test_a_sandbox_with_the_synchronous_api(python: Run) -> None:
    assert "done" in python("sandboxes_sync.py")
