"""Commands: their answers, their output, their end."""

import json
import re
import time
from pathlib import Path

import pytest

from .client import Sandbox, eventually

KEYS = [
    *("pid", "name", "command", "status", "startedAt", "completedAt", "exitCode", "workingDir"),
    *("logs", "stdout", "stderr", "restartOnFailure", "maxRestarts", "restartCount", "keepAlive"),
]


def test_waiting_answer(sandbox: Sandbox) -> None:
    answer = sandbox.run("echo out; echo err >&2; exit 3")
    assert list(answer) == KEYS
    assert (answer["stdout"], answer["stderr"], answer["logs"]) == ("out\n", "err\n", "out\nerr\n")
    assert (answer["status"], answer["exitCode"]) == ("failed", 3)
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", answer["completedAt"])
    assert re.fullmatch(r"proc-[a-z0-9]{8}", answer["name"])
    assert answer["pid"].isdecimal()


def test_answer_without_waiting_has_no_logs_yet(sandbox: Sandbox) -> None:
    answer = sandbox.start("sleep 30", name="later")
    assert (answer["status"], answer["logs"], answer["stdout"]) == ("running", None, "")
    assert answer["completedAt"] == ""
    listed = [p for p in sandbox.call("GET", "/process").json if p["name"] == "later"]
    assert listed[0]["completedAt"] is None
    assert sandbox.call("DELETE", "/process/later/kill").json == {
        "message": "Process killed successfully"
    }


def test_environment_and_directory(sandbox: Sandbox) -> None:
    answer = sandbox.run(
        'echo "$FROM_CONFIG $MINE $HOME $(pwd)"', env={"MINE": "1"}, workingDir="/tmp"
    )
    assert answer["stdout"].split() == ["yes", "1", str(sandbox.workdir.parent), "/tmp"]
    assert sandbox.run("pwd")["stdout"].strip() == str(sandbox.workdir)
    assert sandbox.run("cat", timeout=5)["exitCode"] == 0  # stdin is at its end


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "EOF"),
        ("{", "invalid request body"),
        ('{"command": 5}', "$.command"),
        ("{}", "command"),
        ('{"command": ""}', "command"),
        ('{"command": "x", "timeout": "1"}', "$.timeout"),
        ('{"command": "x", "timeout": 99999999999999999999}', "$.timeout"),
        ('{"command": "x", "env": {"A": "\\ud800"}}', "invalid request body"),
        ('{"command": "x", "waitForPorts": [70000]}', "waitForPorts"),
        ('{"command": "x\\u0000"}', "command"),
        ('{"command": "x", "env": {"A=B": "c"}}', "env"),
    ],
)
def test_bad_request_names_the_field(sandbox: Sandbox, body: str, says: str) -> None:
    answer = sandbox.call("POST", "/process", body)
    assert answer.status == 400
    assert says in answer.json["error"]


def test_missing_directory_is_unprocessable(sandbox: Sandbox) -> None:
    answer = sandbox.call("POST", "/process", {"command": "ls", "workingDir": "/no/such"})
    assert answer.status == 422
    assert "/no/such" in answer.json["error"]


def test_timeout_answers_but_does_not_kill(sandbox: Sandbox) -> None:
    body = {"command": "sleep 1.5; echo done", "name": "slow", "timeout": 1}
    answer = sandbox.call("POST", "/process", {**body, "waitForCompletion": True})
    assert answer.status == 422
    assert answer.json["error"] == "process timed out after 1 seconds"
    assert sandbox.call("GET", "/process/slow").json["status"] == "running"
    assert sandbox.wait("slow")["stdout"] == "done\n"


def test_names(sandbox: Sandbox) -> None:
    sandbox.start("sleep 30", name="taken")
    again = sandbox.call("POST", "/process", {"command": "true", "name": "taken"})
    assert again.status == 400
    assert "taken" in again.json["error"]
    sandbox.call("DELETE", "/process/taken/kill")
    sandbox.wait("taken")
    assert sandbox.run("echo new", name="taken")["stdout"] == "new\n"
    assert sandbox.call("GET", "/process/taken/logs").json["stdout"] == "new\n"
    assert sandbox.run("echo n", name="12345")["name"] == "12345"
    assert sandbox.call("GET", "/process/12345").json["stdout"] == "n\n"
    assert sandbox.run("true", name="a b")["name"] == "a b"
    assert sandbox.call("GET", "/process/a%20b").status == 200
    assert sandbox.call("POST", "/process", {"command": "true", "name": "a/b"}).status == 422


def test_unknown_process(sandbox: Sandbox) -> None:
    for method, path in [
        ("GET", "/process/zzz"),
        ("GET", "/process/zzz/logs"),
        ("GET", "/process/zzz/wait"),
        ("DELETE", "/process/zzz"),
        ("DELETE", "/process/zzz/kill"),
    ]:
        answer = sandbox.call(method, path)
        assert (answer.status, "error" in answer.json) == (404, True), path
    stream = sandbox.call("GET", "/process/zzz/logs/stream")
    assert (stream.status, "zzz" in stream.json["error"]) == (200, True)


def test_background_child_does_not_delay_the_answer(sandbox: Sandbox) -> None:
    began = time.monotonic()
    answer = sandbox.run("sleep 20 & echo bg; echo $!")
    assert time.monotonic() - began < 10
    assert answer["stdout"].startswith("bg\n")
    assert sandbox.call("DELETE", f"/process/{answer['pid']}/kill").status == 200
    eventually(lambda: not Path(f"/proc/{answer['stdout'].split()[1]}").exists())
    gone = sandbox.call("DELETE", f"/process/{answer['pid']}/kill")
    assert (gone.status, "no such process" in gone.json["error"]) == (404, True)


def test_last_output_is_never_lost(sandbox: Sandbox) -> None:
    for _ in range(30):
        answer = sandbox.run("seq 1 3000")
        assert answer["stdout"].count("\n") == 3000


def test_death_by_signal(sandbox: Sandbox) -> None:
    answer = sandbox.run("kill -9 $$")
    assert (answer["status"], answer["exitCode"]) == ("failed", -1)


def test_stop(sandbox: Sandbox) -> None:
    sandbox.start("sleep 30", name="stopped")
    assert sandbox.call("DELETE", "/process/stopped").json == {
        "message": "Process stopped successfully"
    }
    answer = sandbox.wait("stopped")
    assert (answer["status"], answer["exitCode"]) == ("stopped", -1)
    assert sandbox.call("DELETE", "/process/stopped").status == 404
    sandbox.start("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done", name="clean")
    eventually(lambda: sandbox.call("GET", "/process/clean").json["stdout"])
    sandbox.call("DELETE", "/process/clean")
    assert sandbox.wait("clean")["status"] == "completed"


def test_stop_escalates_and_takes_the_whole_group(sandbox: Sandbox) -> None:
    command = "trap '' TERM; sh -c \"trap '' TERM; echo \\$\\$; while :; do sleep 0.1; done\""
    sandbox.start(command, name="stubborn")
    child = eventually(lambda: sandbox.call("GET", "/process/stubborn").json["stdout"].strip())
    sandbox.call("DELETE", "/process/stubborn")
    assert sandbox.call("GET", "/process/stubborn").json["status"] == "stopped"
    answer = sandbox.wait("stubborn")
    assert (answer["status"], answer["exitCode"]) == ("stopped", -1)
    eventually(lambda: not Path(f"/proc/{child}").exists())


def test_keep_alive_has_a_life_time(sandbox: Sandbox) -> None:
    sandbox.start("sleep 30", name="kept", keepAlive=True, timeout=1)
    assert sandbox.call("GET", "/health").json["keepAliveProcesses"] == 1
    answer = sandbox.wait("kept")
    assert (answer["status"], answer["exitCode"], answer["keepAlive"]) == ("killed", -1, False)
    assert sandbox.call("GET", "/health").json["keepAliveProcesses"] == 0


def test_restart_on_failure(sandbox: Sandbox) -> None:
    answer = sandbox.run("echo run; exit 4", restartOnFailure=True, maxRestarts=1)
    assert (answer["status"], answer["restartCount"], answer["exitCode"]) == ("failed", 1, 4)
    assert answer["stdout"].count("run\n") == 2
    assert "Attempting restart 1/1" in answer["stdout"]


def test_stop_between_two_runs_ends_it(sandbox: Sandbox) -> None:
    sandbox.start("exit 1", name="looping", restartOnFailure=True, maxRestarts=-1)
    eventually(lambda: sandbox.call("GET", "/process/looping").json["restartCount"])
    assert sandbox.call("DELETE", "/process/looping").status == 200
    assert sandbox.wait("looping")["status"] == "stopped"


def test_wait_answers_a_running_process_after_its_timeout(sandbox: Sandbox) -> None:
    sandbox.start("sleep 30", name="waited")
    assert sandbox.wait("waited", 0)["status"] == "running"
    assert sandbox.call("GET", "/process/waited/wait?timeout=x").status == 400
    sandbox.call("DELETE", "/process/waited/kill")


def stream(sandbox: Sandbox, command: str, **fields: object) -> list[dict[str, str]]:
    answer = sandbox.call(
        "POST", "/process", {"command": command, **fields}, {"Accept": "text/event-stream"}
    )
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert all(len(line) < 65536 for line in answer.body.split(b"\n")[:-2])
    return [json.loads(line) for line in answer.body.decode().splitlines()]


def test_streaming_exec(sandbox: Sandbox) -> None:
    events = stream(sandbox, "echo one; sleep 0.8; echo two >&2; exit 2")
    kinds = [event["type"] for event in events]
    assert kinds[0] == "stdout"
    assert "keepalive" in kinds
    assert kinds[-2:] == ["stderr", "result"]
    result = json.loads(events[-1]["data"])
    assert (result["exitCode"], result["stdout"], result["stderr"]) == (2, "one\n", "two\n")


def test_streaming_exec_keeps_characters_whole(sandbox: Sandbox) -> None:
    events = stream(sandbox, "printf '\\303'; sleep 0.1; printf '\\251\\n'; printf '\\377'")
    assert "".join(e["data"] for e in events if e["type"] == "stdout") == "é\n\ufffd"
    big = stream(sandbox, "head -c 300000 /dev/zero")
    assert sum(len(e["data"]) for e in big if e["type"] == "stdout") == 300000


def test_streaming_exec_reports_a_failed_start(sandbox: Sandbox) -> None:
    events = stream(sandbox, "true", workingDir="/no/such")
    assert [event["type"] for event in events] == ["error"]


def test_log_stream_replays_and_follows(sandbox: Sandbox) -> None:
    command = "echo a; echo b >&2; sleep 0.7; printf 'c\\nd'"
    sandbox.start(command, name="logged")
    live = sandbox.call("GET", "/process/logged/logs/stream")
    assert live.headers["content-type"] == "text/plain; charset=utf-8"
    lines = [line for line in live.body.decode().splitlines() if line != "[keepalive]"]
    assert lines == ["stdout:a", "stderr:b", "stdout:c", "stdout:d"]
    assert "[keepalive]" in live.body.decode()
    again = sandbox.call("GET", "/process/logged/logs/stream")
    assert again.body.decode().splitlines() == lines


def test_long_lines_are_split(sandbox: Sandbox) -> None:
    name = sandbox.run("head -c 200000 /dev/zero | tr '\\0' x")["name"]
    lines = sandbox.call("GET", f"/process/{name}/logs/stream").body.split(b"\n")
    assert all(len(line) < 65536 for line in lines)
    assert sum(len(line) - 7 for line in lines if line) == 200000


def test_wait_for_ports(sandbox: Sandbox) -> None:
    command = "sleep 0.3; exec python3 -m http.server 18751 --bind 127.0.0.1"
    answer = sandbox.start(command, name="web", waitForPorts=[18751], timeout=20)
    assert answer["status"] == "running"
    ports = sandbox.call("GET", f"/network/process/{answer['pid']}/ports").json
    assert [p["localPort"] for p in ports["ports"]] == [18751]
    sandbox.call("DELETE", "/process/web/kill")


def test_wait_for_ports_fails_early_when_the_process_dies(sandbox: Sandbox) -> None:
    body = {"command": "echo broken >&2; exit 9", "waitForPorts": [18752]}
    answer = sandbox.call("POST", "/process", body)
    assert answer.status == 422
    assert "code 9" in answer.json["error"]
    assert "broken" in answer.json["error"]


def test_wait_for_ports_has_a_timeout(sandbox: Sandbox) -> None:
    body = {"command": "sleep 5", "waitForPorts": [18753], "timeout": 1}
    answer = sandbox.call("POST", "/process", body)
    assert answer.status == 422
    assert answer.json["error"] == "process timed out waiting for ports after 1 seconds"


def test_ports_of_unknown_process(sandbox: Sandbox) -> None:
    assert sandbox.call("GET", "/network/process/999999/ports").json["ports"] == []
    assert sandbox.call("GET", "/network/process/abc/ports").status == 400
