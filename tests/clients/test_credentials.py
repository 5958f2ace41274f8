"""No credential reaches the hosted service: clients never leave this machine.

The clients run under observers that record every connection and every name they look up, from
before their first line of code. The observers also refuse what is not on this machine, so that
the controls, which take one protection away, send nothing either.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from platform_server import Server

from .conftest import Run
from .model_server import ModelServer

pytestmark = [pytest.mark.clients, pytest.mark.sandbox]
OBSERVERS = Path(__file__).parent / "observers"
LOCAL = {"127.0.0.1", "::1", "localhost"}
EDGE = "any.us-pdx-1.bl.run"
TELEMETRY = "o4508714045276160.ingest.us.sentry.io"

# What somebody has who also uses the hosted service: a login there, with tracking on.
LOGIN = """\
context: {workspace: theirs}
workspaces:
- name: theirs
  env: prod
  credentials: {apiKey: key-of-the-hosted-service}
tracking: true
"""
SHELL = {
    "BL_API_KEY": "key-of-the-hosted-service",
    "BL_WORKSPACE": "theirs",
    "BL_ENV": "dev",
    "BL_API_URL": "https://api.blaxel.ai/v0",
    "BL_RUN_URL": "https://run.blaxel.ai",
    "BL_CLIENT_CREDENTIALS": "aWQ6c2VjcmV0",
    "DO_NOT_TRACK": "0",
}
Observe = Callable[..., set[str]]


@pytest.fixture
def observe(tmp_path: Path) -> Observe:
    """Runs a program under the observers; returns the hosts it named or connected to."""
    (tmp_path / ".blaxel").mkdir()
    (tmp_path / ".blaxel" / "config.yaml").write_text(LOGIN)
    record = tmp_path / "observed.jsonl"

    def run(
        client: Run,
        program: str,
        *arguments: str,
        options: tuple[str, ...] = (),
        without: tuple[str, ...] = (),
        cut: bool = False,
    ) -> set[str]:
        wrapper = [
            "env",
            *(f"--unset={name}" for name in without),
            f"OBSERVED={record}",
            f"PYTHONPATH={OBSERVERS}",
            f"NODE_OPTIONS=--require={OBSERVERS / 'observe.cjs'}",
        ]
        given = {"options": options, "wrapper": wrapper, "environ": SHELL}
        client(program, *arguments, **given, may_fail=cut)
        lines = [json.loads(line) for line in record.read_text().splitlines()]
        assert lines, "the observer saw nothing at all"
        return {host for _, host in lines}

    return run


@pytest.mark.parametrize(
    "program", ["sandboxes_async.py", "sandboxes_sync.py", "resources.py", "failures.py"]
)
def test_the_python_sdk_stays_on_this_machine(python: Run, observe: Observe, program: str) -> None:
    assert observe(python, program) <= LOCAL


def test_the_python_sdk_stays_here_for_models_too(
    python: Run, observe: Observe, model_server: ModelServer
) -> None:
    assert observe(python, "models.py", model_server.url, "sk") <= LOCAL


@pytest.mark.parametrize("key", [(), ("BL_API_KEY", "BL_CLIENT_CREDENTIALS")])
def test_own_credentials_stay_here_even_when_they_are_the_hosted_services(
    python: Run, observe: Observe, key: tuple[str, ...]
) -> None:
    """By mistake: they are refused, and the hosted service hears nothing."""
    options = ("--own-credentials",)
    assert observe(python, "sandboxes_sync.py", options=options, without=key, cut=True) <= LOCAL


def test_unprotected_the_python_sdk_would_leave(python: Run, observe: Observe) -> None:
    without = ("HTTPS_PROXY", "https_proxy", "DO_NOT_TRACK")
    seen = observe(python, "failures.py", without=without, cut=True)
    assert {"api.blaxel.ai", TELEMETRY} <= seen


def test_the_typescript_sdk_stays_on_this_machine(
    node: Run, observe: Observe, server: Server, model_server: ModelServer
) -> None:
    assert observe(node, "sandboxes.mjs") <= LOCAL
    assert observe(node, "sandboxes.mjs", server.url) <= LOCAL
    assert observe(node, "models.mjs", model_server.url, "sk") <= LOCAL


def test_without_its_switch_the_typescript_sdk_would_leave(node: Run, observe: Observe) -> None:
    assert EDGE in observe(node, "sandboxes.mjs", without=("BL_DISABLE_H2",))
