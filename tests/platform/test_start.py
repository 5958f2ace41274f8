"""What a start does without."""

import re
from collections.abc import Callable

import pytest

from platform_server import Server

SPARED = (
    "aiohttp",  # brought by registries and engines, once somebody uses one
    "alembic",  # by migrations, where there is something to migrate
    "httpx",
    "pygments.lexers",  # both by coloured tracebacks, which we do not print
    "rich.console",
    "sqlalchemy.dialects.postgresql",  # by a database there
)


@pytest.fixture
def imported(new_server: Callable[..., Server]) -> set[str]:
    """Every module that a second start of a server has imported when it is ready."""
    server = new_server(PYTHONPROFILEIMPORTTIME="1").start()
    server.stop()
    server.log.write_text("")
    server.start()
    return set(re.findall(r"^import time: .*\| +(\S+)$", server.log.read_text(), re.M))


def test_a_warm_start_imports_nothing_that_only_others_need(imported: set[str]) -> None:
    assert {"serai.app", "litestar", "sqlalchemy.dialects.sqlite"} <= imported
    assert imported.intersection(SPARED) == set()
