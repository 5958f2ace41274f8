"""`serai` as people run it: exit codes, messages, and what a client receives."""

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import COMMAND, Holder, Serai, environment


def test_help_and_version(serai: Serai) -> None:
    assert serai("--version").stdout == "serai, version 0.1.0\n"
    assert 'eval "$(serai env)"' in serai("--help").stdout
    for command in ("up", "status", "env", "exec"):
        text = serai(command, "--help").stdout
        assert "--data-dir" in text
        assert "--port" in text


def test_client_commands_import_nothing_heavy() -> None:
    code = (
        "import sys; from serai.cli import main; "
        "print([m for m in ('cryptography', 'litestar', 'sqlalchemy', 'uvicorn', 'structlog',"
        " 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_status_of_a_running_server(serai: Serai, holder: Holder) -> None:
    done = serai("status", "--data-dir", str(holder.data_dir), HTTP_PROXY="http://127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    for part in (holder.url, "0.1.0", str(holder.pid), "1 d 1:01:", "2 running, 1 standby"):
        assert part in done.stdout
    report = json.loads(serai("status", "--json", "--data-dir", str(holder.data_dir)).stdout)
    assert report["running"] is True
    assert report["pid"] == holder.pid
    assert report["sandboxes"] == {"running": 2, "standby": 1}


def test_status_by_port_alone(serai: Serai, holder: Holder) -> None:
    done = serai("status", "--port", str(holder.port), "--data-dir", "elsewhere")
    assert done.returncode == 0
    assert holder.url in done.stdout


def test_status_without_a_server(serai: Serai, tmp_path: Path) -> None:
    done = serai("status", "--data-dir", str(tmp_path / "none"))
    assert done.returncode == 3
    assert done.stdout == ""
    assert "serai up" in done.stderr
    done = serai("status", "--json", SERAI_DATA_DIR=str(tmp_path / "none"))
    assert done.returncode == 3
    assert json.loads(done.stdout)["running"] is False


def test_a_killed_server_is_not_believed(serai: Serai, holder: Holder) -> None:
    holder.kill()
    assert (holder.data_dir / "instance.json").exists()
    assert serai("status", "--data-dir", str(holder.data_dir)).returncode == 3
    assert serai("env", "--data-dir", str(holder.data_dir)).returncode == 1


def test_env_as_json(serai: Serai, holder: Holder) -> None:
    values = json.loads(serai("env", "--json", "--data-dir", str(holder.data_dir)).stdout)
    assert values["BL_API_URL"] == f"{holder.url}/v0"
    assert values["BL_API_KEY"] == "bl_adminkey"
    assert values["SSL_CERT_DIR"].startswith(str(holder.data_dir))
    assert "BL_ENV" not in values


def test_env_evaluated_by_a_shell_equals_env_as_json(holder: Holder) -> None:
    """The data directory has a quote and a space in its name."""
    serai = f'"{sys.executable}" -c "from serai.cli import main; main()"'
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    script = f'eval "$({serai} env --shell)"; "{sys.executable}" -c "{show}"; {serai} env --json'
    done = subprocess.run(
        ["sh", "-c", script],
        env=environment(
            SERAI_DATA_DIR=str(holder.data_dir), BL_ENV="dev", BL_CLIENT_CREDENTIALS="x"
        ),
        capture_output=True,
        text=True,
        check=True,
    )
    evaluated, wanted = (json.loads(line) for line in done.stdout.splitlines())
    assert wanted.items() <= evaluated.items()
    assert not {"BL_ENV", "BL_CLIENT_CREDENTIALS"} & evaluated.keys()


def test_env_without_a_server_prints_nothing_to_eval(serai: Serai) -> None:
    done = serai("env")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "serai up" in done.stderr


def test_exec_passes_arguments_environment_and_exit_status(serai: Serai, holder: Holder) -> None:
    code = "import os, sys; print(os.environ['BL_RUN_URL'], sys.argv[1:]); sys.exit(7)"
    command = [sys.executable, "-c", code, "--port", "a b", "--"]
    done = serai("exec", "--data-dir", str(holder.data_dir), "--", *command)
    assert done.returncode == 7, done.stderr
    assert done.stdout == f"{holder.url} ['--port', 'a b', '--']\n"


def test_exec_keeps_the_process_id(holder: Holder) -> None:
    """It replaces itself, so signals sent to it reach the client."""
    process = subprocess.Popen(
        [*COMMAND, "exec", "--data-dir", str(holder.data_dir), "sh", "-c", "echo $$"],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.communicate()[0] == f"{process.pid}\n"


def test_exec_takes_a_key_and_a_workspace_from_outside(
    serai: Serai, hold: Callable[..., Holder]
) -> None:
    holder = hold(key="")
    show = ("sh", "-c", 'echo "$BL_API_KEY $BL_WORKSPACE"')
    done = serai("exec", *show, SERAI_DATA_DIR=str(holder.data_dir))
    assert done.returncode == 125
    assert "SERAI_ADMIN_API_KEY" in done.stderr
    given = {"SERAI_DATA_DIR": str(holder.data_dir), "SERAI_ADMIN_API_KEY": "bl_other"}
    assert serai("exec", *show, **given).stdout == "bl_other main\n"
    assert serai("exec", "--workspace", "team-a", *show, **given).stdout == "bl_other team-a\n"


def test_a_client_may_bring_its_own_credentials(serai: Serai, hold: Callable[..., Holder]) -> None:
    holder = hold(key="")
    own = {"SERAI_DATA_DIR": str(holder.data_dir), "BL_CLIENT_CREDENTIALS": "bXk6b3du"}
    show = ("sh", "-c", 'echo "$BL_API_URL $BL_API_KEY $BL_CLIENT_CREDENTIALS $BL_WORKSPACE"')
    done = serai("exec", "--own-credentials", *show, **own)
    assert done.stdout == f"{holder.url}/v0  bXk6b3du \n", done.stderr
    done = serai("exec", "--own-credentials", "--workspace", "team", *show, **own)
    assert done.stdout == f"{holder.url}/v0  bXk6b3du team\n"
    values = json.loads(serai("env", "--json", "--own-credentials", **own).stdout)
    assert not {"BL_API_KEY", "BL_WORKSPACE"} & values.keys()


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [("no-such-command-x", 127, "command not found"), ("/etc/passwd", 126, "Permission denied")],
)
def test_exec_reports_like_a_shell(
    serai: Serai, holder: Holder, command: str, status: int, message: str
) -> None:
    done = serai("exec", "--data-dir", str(holder.data_dir), command)
    assert done.returncode == status
    assert message in done.stderr


def test_exec_without_a_server(serai: Serai) -> None:
    done = serai("exec", "true")
    assert done.returncode == 125
    assert "serai up" in done.stderr


def test_exec_warns_about_files_that_defeat_it(serai: Serai, holder: Holder) -> None:
    directory = holder.data_dir.parent / "project"
    directory.mkdir()
    (directory / ".env").write_text("BL_API_KEY=hosted\n")
    done = serai("exec", "--data-dir", str(holder.data_dir), "true", cwd=directory)
    assert done.returncode == 0
    assert "sets BL_API_KEY" in done.stderr


def test_a_second_up_names_the_first(serai: Serai, holder: Holder) -> None:
    done = serai("up", "--data-dir", str(holder.data_dir), "--port", "8123")
    assert done.returncode == 1
    for part in (str(holder.pid), holder.url, str(holder.data_dir)):
        assert part in done.stderr
    assert serai("status", "--data-dir", str(holder.data_dir)).returncode == 0


def test_up_names_a_taken_port(serai: Serai, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = serai("up", "--data-dir", str(tmp_path / "new"), "--port", port)
    assert done.returncode == 1
    assert port in done.stderr
    assert "--port" in done.stderr
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_up_names_a_host_that_is_not_ours(serai: Serai, tmp_path: Path) -> None:
    done = serai("up", "--data-dir", str(tmp_path / "new"), "--host", "203.0.113.9")
    assert done.returncode == 1
    assert "--host" in done.stderr


def test_up_names_a_data_directory_that_cannot_be_used(serai: Serai, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = serai("up", "--data-dir", str(tmp_path / "file" / "data"))
    assert done.returncode == 1
    assert "--data-dir" in done.stderr
    assert "Not a directory" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_up_names_a_data_directory_that_is_not_ours(tmp_path: Path) -> None:
    from serai.kernel.instance import DataDirectoryError, prepare_data_dir

    tmp_path.chmod(0o755)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o755)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            prepare_data_dir(locked)
        except DataDirectoryError as error:
            os._exit(17 if "Permission denied" in str(error) else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17


def test_a_wrong_setting_is_a_usage_error(serai: Serai) -> None:
    done = serai("up", SERAI_PORT="eighty")
    assert done.returncode == 2
    assert "SERAI_PORT is 'eighty': must be a whole number from 1 to 65535" in done.stderr
