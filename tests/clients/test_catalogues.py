"""Networks, images and catalogues through the official Python SDK, both releases, unmodified."""

import pytest

from .conftest import Run

pytestmark = [pytest.mark.clients, pytest.mark.sandbox]


def test_networks_images_and_catalogues(python: Run) -> None:
    assert "done" in python("catalogues.py")
