"""One server for all tests here, people with passwords, and browsers of theirs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from argon2 import PasswordHasher
from sqlalchemy import Connection, select

from identity.conftest import World
from platform_server import Server
from serai.identity import accounts, passwords
from serai.identity.bootstrap import first_admin
from serai.kernel.clock import now
from serai.kernel.ids import token
from server_fixtures import new_server

from .browser import Browser, is_at

__all__ = ["new_server"]

PASSWORD = "four random words here"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
"""Of the same password; the server replaces it by a dearer one when somebody signs in."""


class Person(NamedTuple):
    """Somebody who can sign in."""

    id: str
    email: str


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    server = Server(tmp_path_factory.mktemp("signin") / "data").start()
    world = World(server)
    yield world
    world.close()
    server.stop()


@pytest.fixture
def new_person(world: World) -> Callable[..., Person]:
    """Makes members of the workspace main, with ``PASSWORD``."""

    def make(*, password: bool = True) -> Person:
        email = f"{token(8)}@example.com"

        def write(conn: Connection) -> str:
            admin = first_admin(conn)
            assert admin is not None
            user_id = accounts.create_user(conn, admin.account_id, email, account_admin=False)
            accounts.grant(conn, "main", user_id, "member")
            if password:
                passwords.store(conn, user_id, CHEAP, now())
            return user_id

        return Person(world.write(write), email)

    return make


@pytest.fixture
def new_browser(world: World) -> Iterator[Callable[..., Browser]]:
    """Makes browsers of the shared server (or another one)."""
    made: list[Browser] = []

    def make(address: str = "127.0.0.1", server: Server | None = None) -> Browser:
        made.append(Browser(server or world.server, address))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def person(new_person: Callable[..., Person]) -> Person:
    """Somebody who can sign in."""
    return new_person()


@pytest.fixture
def browser(new_browser: Callable[..., Browser]) -> Browser:
    """A browser in which nobody is signed in."""
    return new_browser()


@pytest.fixture
def signed_in(browser: Browser, person: Person) -> Browser:
    """A browser in which the person is signed in."""
    is_at(browser.sign_in(person.email, PASSWORD), "/account")
    return browser


def stored(world: World, table: object, column: str, **where: str) -> list[object]:
    """Values of a column, read from outside."""
    query = select(table.c[column]).where(*(table.c[k] == v for k, v in where.items()))  # type: ignore[attr-defined]
    return world.write(lambda conn: list(conn.execute(query).scalars()))


def fresh_address() -> str:
    """An address from which nobody has come yet."""
    number = int(token(4), 36) % 250
    return f"127.{int(token(4), 36) % 250 + 1}.{number}.{int(token(4), 36) % 250 + 1}"


def log_of(server: Server) -> Path:
    """The server's log file."""
    return server.log
