"""What the official CLI puts on the wire, with and without the CLI itself."""

import json
import os
from pathlib import Path

import pytest

from platform_server import KEY, Server

from .blaxel_cli import Cli, is_built
from .machines import Machine
from .person import Person
from .test_cli_device import begin, ended
from .wire import FILE, TOKEN_PATH, Exchange, Recorder, Secrets, replay

pytestmark = pytest.mark.clients
AGAIN = "record it again: SERAI_RECORD_WIRE=1 with pytest, and look at the difference"


@pytest.fixture(scope="module")
def secrets(server: Server) -> Secrets:
    return Secrets(api_key=KEY, basic=Machine(server).basic)


@pytest.mark.skipif(not is_built(), reason="NOT TESTED: the official CLI is not built")
def test_the_recording_is_what_the_cli_sends(
    tmp_path: Path, server: Server, secrets: Secrets, person: Person
) -> None:
    with Recorder(server.url, secrets) as recorder:
        recorded = record(tmp_path, server, recorder, secrets, person)
    if os.environ.get("SERAI_RECORD_WIRE"):
        FILE.write_text(json.dumps(recorded, indent=1) + "\n")
    assert recorded == json.loads(FILE.read_text()), AGAIN


def record(
    place: Path, server: Server, recorder: Recorder, secrets: Secrets, person: Person
) -> dict[str, list[Exchange]]:
    """What each command sends."""
    found: dict[str, list[Exchange]] = {}

    def note(name: str) -> None:
        found[name] = list(recorder.exchanges)
        recorder.exchanges.clear()

    def cli(name: str) -> Cli:
        made = Cli(place / name, server)
        made.url = recorder.url
        return made

    def read(one: Cli, login: str) -> None:
        one("get", "agents")
        note(f"get agents after {login}")

    keyed, machine, signed_in = cli("key"), cli("machine"), cli("person")
    keyed("login", "main", BL_API_KEY=KEY)
    note("login with a key")
    read(keyed, "a login with a key")
    machine("login", "main", BL_CLIENT_CREDENTIALS=secrets.put_in("{basic}"))
    note("login with client credentials")
    machine("token")
    note("token of client credentials")
    read(machine, "a login with client credentials")
    process, link = begin(signed_in)
    person.approve(link)
    ended(process)
    note("login in a browser")
    read(signed_in, "a login in a browser")
    signed_in.let_token_expire()
    signed_in("token")
    note("token that has expired")
    read(signed_in, "a refresh")
    return found


@pytest.mark.parametrize("token_path", [TOKEN_PATH, "/oauth/token"])
def test_the_server_answers_what_the_cli_sends(
    server: Server, secrets: Secrets, person: Person, token_path: str
) -> None:
    """Releases of the CLI differ in where they refresh tokens."""
    for name, exchanges in json.loads(FILE.read_text()).items():
        assert exchanges, name
        replay(exchanges, server.url, secrets, person.approve, token_path)
