"""One server for all client tests, and programs that run against it as a user runs them."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import pytest

from platform_server import COMMAND, KEY, Server, environment

from .environments import PYTHON_VERSIONS, TYPESCRIPT_VERSIONS, directory
from .model_server import ModelServer
from .person import Person

PROGRAMS = Path(__file__).parent / "programs"
SECONDS = 100
EMPTY: Mapping[str, str] = MappingProxyType({})


class Run(Protocol):
    """Runs a program with arguments and returns what it printed; it must not fail.

    ``options`` are those of `serai exec`; ``wrapper`` stands between `serai exec --` and the
    program; ``environ`` is what the shell had set before. ``may_fail`` is for programs that are
    cut off on purpose.
    """

    def __call__(
        self,
        program: str,
        *arguments: str,
        options: Sequence[str] = (),
        wrapper: Sequence[str] = (),
        environ: Mapping[str, str] = ...,
        may_fail: bool = False,
    ) -> str: ...


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # A client of another service, or a proxy, may be set up in the shell that runs the tests.
    own = {"NO_PROXY": "*", "no_proxy": "*", "SERAI_PRIVATE_CALLBACKS": "1"}
    server = Server(tmp_path_factory.mktemp("clients") / "data", **own)
    yield server.start()
    server.stop()


@pytest.fixture(scope="package")
def person(server: Server) -> Iterator[Person]:
    """The server's admin, signed in in a browser."""
    person = Person(server)
    yield person
    person.browser.close()


@pytest.fixture(scope="package")
def model_server() -> Iterator[ModelServer]:
    with ModelServer() as model_server:
        yield model_server


@pytest.fixture(params=PYTHON_VERSIONS)
def python(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Run:
    """Runs a program with one release of the Python SDK."""
    interpreter = directory("py", request.param) / "bin" / "python"
    return connected(server, tmp_path, str(interpreter))


@pytest.fixture(params=TYPESCRIPT_VERSIONS)
def node(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Run:
    """Runs a program with one release of the TypeScript SDK."""
    modules = directory("ts", request.param) / "node_modules"
    (tmp_path / "node_modules").symlink_to(modules)
    return connected(server, tmp_path, "node")


def connected(server: Server, workdir: Path, interpreter: str) -> Run:
    """`serai exec -- INTERPRETER program …`, in an empty directory and home."""

    def run(
        program: str,
        *arguments: str,
        options: Sequence[str] = (),
        wrapper: Sequence[str] = (),
        environ: Mapping[str, str] = EMPTY,
        may_fail: bool = False,
    ) -> str:
        script = workdir / program
        script.write_bytes((PROGRAMS / program).read_bytes())
        command = [interpreter, str(script), *arguments]
        done = subprocess.run(
            [*COMMAND, "exec", *server.options(), *options, "--", *wrapper, *command],
            cwd=workdir,
            env=environment(SERAI_ADMIN_API_KEY=KEY, HOME=str(workdir), **environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert may_fail or done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    return run
