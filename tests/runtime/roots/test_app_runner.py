"""The program of the image app-runner, run as it is."""

import base64
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from serai.runtime.roots.recipes import FOLDER

PROGRAM = FOLDER / "app-runner/usr/local/bin/app-runner"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs it; keywords are its variables, in small letters."""

    def run(**variables: str) -> "subprocess.CompletedProcess[str]":
        given = {"workdir": str(tmp_path / "work"), "start_command": "cat main.txt"} | variables
        environment = {f"APP_RUNNER_{name.upper()}": value for name, value in given.items()}
        return subprocess.run(
            [sys.executable, str(PROGRAM)],
            env=environment | {"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def repository(tmp_path: Path) -> str:
    """A git repository with two commits; the first has the tag ``old``."""
    place = tmp_path / "source.git"
    (place / "part").mkdir(parents=True)

    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
        subprocess.run(["git", *who, *words], cwd=place, capture_output=True, check=True)

    git("init", "-q")
    for text, tag in (("first", "old"), ("second", "new")):
        (place / "main.txt").write_text(text)
        (place / "part/main.txt").write_text(f"part of the {text}")
        git("add", ".")
        git("commit", "-qm", text)
        git("tag", tag)
    return str(place)


def test_a_repository_is_fetched_and_started(run: Run, repository: str) -> None:
    assert run(source_uri=repository).stdout == "second"
    assert run(source_uri=repository, source_ref="old").stdout == "first"
    part = run(source_uri=repository, source_type="git", context_path="part")
    assert part.stdout == "part of the second"


def test_what_is_run_before_it(run: Run, repository: str, tmp_path: Path) -> None:
    setup = base64.b64encode(b"echo prepared > note").decode()
    prepare = "tr a-z A-Z < main.txt > upper.txt"
    start = "cat ../note upper.txt"
    done = run(
        source_uri=repository,
        setup_script_b64=setup,
        pre_start_command=prepare,
        start_command=start,
    )
    assert done.stdout == "prepared\nSECOND"
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["note", "source"]


def test_an_archive_is_unpacked_and_cannot_leave_its_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "main.txt").write_text("packed")
    for name, inside in (("good.tar", "main.txt"), ("bad.tar", "../../escaped.txt")):
        with tarfile.open(tmp_path / name, "w") as archive:
            archive.add(tmp_path / "main.txt", inside)
    good = (tmp_path / "good.tar").as_uri()
    assert run(source_uri=good, source_type="https").stdout == "packed"
    assert run(source_uri=(tmp_path / "bad.tar").as_uri(), source_type="https").returncode != 0
    assert not list(tmp_path.rglob("escaped.txt"))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"source_uri": ""}, "APP_RUNNER_SOURCE_URI is not set"),
        ({"start_command": ""}, "APP_RUNNER_START_COMMAND is not set"),
        ({"workdir": "/usr/../etc"}, "APP_RUNNER_WORKDIR '/etc' would be emptied"),
        ({"source_uri": "somewhere"}, "APP_RUNNER_SOURCE_TYPE is needed"),
        ({"source_type": "ftp"}, "'ftp' is none of git, https"),
        ({"setup_script_b64": "?"}, "APP_RUNNER_SETUP_SCRIPT_B64"),
        ({"source_ref": "no-such-tag"}, "git ended with"),
        ({"context_path": "none"}, "APP_RUNNER_CONTEXT_PATH 'none'"),
    ],
)
def test_bad_variables_are_named(
    run: Run, repository: str, variables: dict[str, str], message: str
) -> None:
    done = run(**({"source_uri": repository} | variables))
    assert done.returncode == 1
    assert message in done.stderr
