"""Images of one test's own data directory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serai.runtime import host
from serai.runtime.roots.policy import Policy
from serai.runtime.roots.provider import Images


@pytest.fixture
def told() -> list[str]:
    """Lines of progress."""
    return []


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[Images]:
    """A store without anything in it."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    owner = host.choose_user_range(data_dir / "uid-base")
    made = Images(data_dir, owner, Policy(registries=("*",)), {"HOME": str(tmp_path)})
    made.store.prepare()
    yield made
    await made.close()
