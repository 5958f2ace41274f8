"""`make demo`: the example runs to its end against a server of its own and is billed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from examples.demo.echo_model import EchoModel

from client_venv import ROOT, client_venv
from platform_server import KEY, Server, environment


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo as `make demo` does."""
    return subprocess.run(
        [sys.executable, "-m", "examples.demo", *arguments],
        cwd=ROOT,
        env=environment(
            PYTHONPATH=os.pathsep.join([str(ROOT / "src"), str(ROOT)]), SERAI_ADMIN_API_KEY=KEY
        ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.clients
@pytest.mark.sandbox
def test_the_demo_runs_to_its_end() -> None:
    before = leftovers()
    done = demo("--client-python", str(client_venv() / "bin/python"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "working: 3 of 3" in done.stdout
    assert "'6 times 7 is 42'" in done.stdout
    assert "I am an echo, not a language model." in done.stdout
    for dimension in ("sandbox_compute_runtime_gbs", "model_output_tokens_count"):
        assert cost(done.stdout, dimension) > 0
    assert cost(done.stdout, "total") > 0
    assert leftovers() == before


@pytest.mark.clients
@pytest.mark.sandbox
def test_the_demo_runs_against_a_server_that_is_there(tmp_path: Path) -> None:
    server = Server(tmp_path / "data").start()
    try:
        place = os.path.relpath(server.data_dir, ROOT)
        done = demo("--client-python", str(client_venv() / "bin/python"), "--data-dir", place)
        assert done.returncode == 0, done.stdout + done.stderr
        assert server.url in done.stdout
        assert server.client.get("/v0/sandboxes?workspace=main").json()["data"] == []
        assert server.client.get("/v0/models?workspace=main").json()["data"] == []
    finally:
        server.stop()


@pytest.mark.clients
def test_a_demo_that_cannot_finish_says_why(tmp_path: Path) -> None:
    python = str(client_venv() / "bin/python")
    done = demo("--client-python", python, "--data-dir", str(tmp_path))
    assert done.returncode != 0
    assert "no Serai is running" in done.stderr


def test_without_the_sdk_the_demo_says_how_to_get_it() -> None:
    done = demo("--client-python", "/nowhere/python")
    assert done.returncode == 2
    assert "make demo" in done.stderr


def cost(output: str, row: str) -> float:
    """The last number of a row of the bill."""
    found = re.search(rf"^ +{row} .*?([0-9.]+)$", output, re.M)
    assert found, f"no row {row}"
    return float(found[1])


def leftovers() -> set[str]:
    """Data directories of demos."""
    return {path.name for path in (ROOT / ".cache").glob("demo-*")}


async def test_the_echo_model_streams_and_counts() -> None:
    body = {"messages": [{"role": "user", "content": "one two three"}], "stream": True}
    with EchoModel() as model:
        async with httpx.AsyncClient(trust_env=False) as http:
            plain = await http.post(
                f"{model.base_url}/chat/completions", json={**body, "stream": False}
            )
            options = {"stream_options": {"include_usage": True}}
            streamed = await http.post(f"{model.base_url}/chat/completions", json=body | options)
            bad = await http.post(f"{model.base_url}/chat/completions", json={})
    usage = {"prompt_tokens": 3, "completion_tokens": 13, "total_tokens": 16}
    assert plain.json()["usage"] == usage
    assert plain.json()["choices"][0]["message"]["content"].endswith("You asked: one two three")
    assert '"usage"' in streamed.text.splitlines()[-4]
    assert streamed.text.endswith("data: [DONE]\n\n")
    assert bad.status_code == 400
