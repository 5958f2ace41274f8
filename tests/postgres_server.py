"""A real PostgreSQL of the tests' own, on a Unix socket; gone when they end."""

import getpass
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

PLACES = "/usr/lib/postgresql/*/bin"
UNPRIVILEGED = ("postgres", "nobody")
QUICK = ("fsync=off", "full_page_writes=off", "listen_addresses=")


class NoPostgres(Exception):
    """There is no PostgreSQL here; the message says how to get one."""


class Postgres:
    """A running server. ``url`` leads to its database ``postgres``."""

    def __init__(self, binaries: Path, folder: Path, user: str) -> None:
        self._binaries = binaries
        self._folder = folder
        self._user = user
        self._numbers = count(1)
        self.url = f"postgresql://serai@/postgres?host={folder}"

    def start(self) -> None:
        """Make the cluster and start the server on it."""
        data = str(self._folder / "data")
        self._run("initdb", "-D", data, "-U", "serai", "-A", "trust", "-N", "-E", "UTF8")
        self.resume()

    def resume(self) -> None:
        """Start the server on its cluster."""
        options = " ".join(f"-c {option}" for option in QUICK) + f" -k {self._folder}"
        data, log = str(self._folder / "data"), str(self._folder / "log")
        self._run("pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")

    def stop(self) -> None:
        """Stop at once, as in a crash: connections are cut."""
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "stop")

    def new_database(self) -> str:
        """The URL of an empty schema, as good as a database and quicker made."""
        name = f"test{next(self._numbers)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{self.url}&options=-csearch_path%3D{name}"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._binaries / program), *arguments],
            user=self._user if os.geteuid() == 0 else None,
            cwd=self._folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stdout[-2000:]}")


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A server in a temporary folder.

    Raises:
        NoPostgres: it is not installed, or may not be run by this user.
    """
    binaries, user = _binaries(), _user()
    folder = Path(tempfile.mkdtemp(prefix="serai-pg-", dir="/tmp"))
    try:
        shutil.chown(folder, user)
        server = Postgres(binaries, folder, user)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path:
    found = shutil.which("initdb")
    places = sorted(Path("/").glob(PLACES.removeprefix("/")))
    if found is None and not places:
        raise NoPostgres("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return Path(found).resolve().parent if found is not None else places[-1]


def _user() -> str:
    """Who runs it: PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return getpass.getuser()
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in UNPRIVILEGED:
        if name in known:
            return name
    raise NoPostgres("PostgreSQL cannot be run by root, and there is no other user for it")
