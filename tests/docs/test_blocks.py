"""What the pages tell a reader to type works: their blocks run, in order, against a real server.

A fenced block takes part when its info string says so:

- ``console run``: lines that begin with ``$ `` are commands (``> `` continues one). They must end
  with status 0 and print the lines below them, where ``…`` stands for any text, or, alone on a
  line, for any lines.
- ``python file=NAME``, ``javascript file=NAME``, …: the block is saved as that file first. Pages
  with JavaScript are skipped where Node.js or the TypeScript SDK is missing, and pages that run
  `bl` where that is not built.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from client_venv import BL, NODE_MODULES
from platform_server import COMMAND, Server, environment

from .conftest import PAGES, page_id

FENCE = re.compile(r"^```(\w+) +([^\n`]+)\n(.*?)^```$", re.M | re.S)
TESTED = [page for page in PAGES if FENCE.search(page.read_text())]


class Command(NamedTuple):
    """What a reader types, and what the page shows below it."""

    text: str
    shown: list[str]


@pytest.fixture
def shell(tmp_path: Path, server: Server, clients: Path, model_url: str) -> dict[str, str]:
    """The environment of a reader: `serai` in the path, a client environment in ``client``."""
    if not shutil.which("curl"):
        pytest.skip("NOT TESTED: curl is not installed")
    programs = tmp_path / "bin"
    programs.mkdir()
    serai = programs / "serai"
    serai.write_text(f'#!/bin/sh\nexec {COMMAND[0]} {COMMAND[1]} "{COMMAND[2]}" "$@"\n')
    serai.chmod(0o755)
    (programs / "bl").symlink_to(BL)
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "work/client").symlink_to(clients)
    (tmp_path / "work/node_modules").symlink_to(NODE_MODULES)
    return environment(
        PATH=f"{programs}:{os.environ['PATH']}",
        HOME=str(tmp_path / "home"),
        SERAI_DATA_DIR=str(server.data_dir),
        SERAI_ADMIN_API_KEY=server.environ["SERAI_ADMIN_API_KEY"],
        MODEL_URL=model_url,
    )


@pytest.mark.clients
@pytest.mark.sandbox
@pytest.mark.parametrize("page", TESTED, ids=page_id)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, shell: dict[str, str]) -> None:
    work = tmp_path / "work"
    if "```javascript file=" in page.read_text() and not has_node():
        pytest.skip("NOT TESTED: the official TypeScript SDK is not installed; run `make clients`")
    if runs_bl(page) and not BL.exists():
        pytest.skip("NOT TESTED: the official CLI is not built; run `make clients`")
    for language, info, body in FENCE.findall(page.read_text()):
        words = info.split()
        for word in words:
            if word.startswith("file="):
                (work / word.removeprefix("file=")).write_text(body)
        if language == "console" and "run" in words:
            for command in commands(body):
                run(command, work, shell)


def runs_bl(page: Path) -> bool:
    """Whether a page has commands that run the official CLI."""
    blocks = [body for _, info, body in FENCE.findall(page.read_text()) if "run" in info.split()]
    return any(re.search(r"^\$ (?:.* )?bl ", block, re.M) for block in blocks)


def has_node() -> bool:
    """Whether the TypeScript SDK can run here."""
    return shutil.which("node") is not None and NODE_MODULES.is_dir()


def commands(body: str) -> list[Command]:
    """The commands of a console block."""
    found: list[Command] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], []))
        elif line.startswith("> ") and not found[-1].shown:
            found[-1] = Command(f"{found[-1].text}\n{line[2:]}", [])
        else:
            found[-1].shown.append(line)
    return found


def run(command: Command, work: Path, shell: dict[str, str]) -> None:
    """Type a command; exports stay for the next one."""
    script = (
        f". ./.exports 2>/dev/null\n{command.text}\nstatus=$?\nexport -p >.exports\nexit $status"
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=work,
        env=shell,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{command.text}\n{done.stdout}"
    printed = done.stdout.strip("\n")
    if shown := "\n".join(command.shown).strip("\n"):
        assert matches(shown, printed), f"{command.text}\n{printed}\n--- shown:\n{shown}"


def matches(shown: str, printed: str) -> bool:
    """Whether the real output is what a page shows."""
    lines = [
        r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n"
        for line in shown.splitlines()
    ]
    return re.fullmatch("".join(lines), printed + "\n") is not None


def test_there_are_pages_to_test() -> None:
    assert len(TESTED) > 3


def test_commands_are_told_from_their_output() -> None:
    assert commands("$ one \\\n> more\nout\n$ two\n") == [
        Command("one \\\nmore", ["out"]),
        Command("two", []),
    ]


@pytest.mark.parametrize(
    ("shown", "printed", "holds"),
    [
        ("a … c", "a b c", True),
        ("a … c", "a b d", False),
        ("a\n…\nc", "a\nb\nb\nc", True),
        ("a\n…\nc", "a\nc", True),
        ("a", "a\nb", False),
        ("1.5", "1x5", False),
    ],
)
def test_an_ellipsis_stands_for_anything(shown: str, printed: str, holds: bool) -> None:
    assert matches(shown, printed) is holds
