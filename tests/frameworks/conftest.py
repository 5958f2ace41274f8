"""One server whose models stand for providers of every type, and the frameworks' environment."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import httpx
import pytest

from google_tokens import TOKEN, TokenServer
from platform_server import COMMAND, KEY, Server, environment, free_port

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".cache" / "clients"
TYPESCRIPT = CACHE / "ts-frameworks"
PYTHON = CACHE / "frameworks" / "bin" / "python"
SECRET = "sk-of-the-provider"
SECONDS = 300
QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "CREWAI_TESTING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}
"""Else frameworks call home."""
PLACEHOLDERS = {"ANTHROPIC_API_KEY": "none", "CEREBRAS_API_KEY": "none"}
"""Keys that CrewAI and LiteLLM want to see, and that the gateway drops."""

SMALL = "chat"
MODELS = {
    "openai": "gpt-4.1-mini",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
    "vertexai": "gemini-2.5-flash",
    "mistral": "mistral-large-latest",
    "cohere": "command-r-plus",
    "xai": "grok-4",
    "groq": "llama-3.3-70b-versatile",
    "deepseek": "deepseek-chat",
    "cerebras": "llama-3.3-70b",
    "huggingface": "meta-llama/Llama-3.3-70B-Instruct",
    "azure-openai-service": "gpt-4.1",
    "azure-ai-inference": "Phi-4",
}
"""A model of each provider, with a name that its makers gave it: some frameworks look at it."""


class Found(NamedTuple):
    """What came of asking one model in one way."""

    model: str
    way: str
    pieces: list[str]
    error: str

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class Run(Protocol):
    """Runs a program of a framework with models, each in some ways."""

    def __call__(self, program: str, models: dict[str, tuple[str, ...]]) -> list[Found]:
        """The outcomes, in order; ``program`` is a file of `programs` without its ``with_``."""


class Providers:
    """The process in which the providers are."""

    def __init__(self) -> None:
        command = [str(PYTHON), str(HERE / "providers" / "serve.py"), SECRET, TOKEN]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the providers have not started"

    def calls(self) -> list[dict[str, Any]]:
        """All they were sent so far: path, query, headers, body, and why it was refused."""
        found: list[dict[str, Any]] = httpx.get(
            f"{self.url}/calls", trust_env=False, timeout=30
        ).json()
        return found

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="session")
def frameworks() -> Path:
    """The interpreter that has the frameworks; skips the test when there is none."""
    if not (CACHE / "frameworks" / ".ready").exists():
        pytest.skip("NOT TESTED: the frameworks are not installed: run `make test-frameworks`")
    return PYTHON


@pytest.fixture(scope="session")
def providers(frameworks: Path) -> Iterator[Providers]:
    made = Providers()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("frameworks") / "data", NO_PROXY="*", no_proxy="*")
    yield server.start()
    server.stop()


@pytest.fixture(scope="session")
def models(server: Server, providers: Providers) -> Iterator[list[str]]:
    """Names of the models, one of each type: they are the types' own."""
    with TokenServer() as tokens:
        for kind, model in MODELS.items():
            config = {"baseUrl": f"{providers.url}/{kind}"}
            secret = {"apiKey": SECRET}
            if kind == "groq":
                config["baseUrl"] += "/openai"
            if kind == "vertexai":
                config["location"] = "europe-west1"
                secret = {"apiKey": tokens.account}
            create(server, kind, model, {"config": config, "secret": secret})
        yield list(MODELS)


@pytest.fixture(scope="session")
def small_model(server: Server) -> Iterator[str]:
    """The name of a model that is SmolLM2-135M, on llama.cpp's own server."""
    python = ROOT / ".cache" / "llm-venv" / "bin" / "python"
    if not python.exists():
        pytest.skip("NOT TESTED: the small model is not installed: run `make test-frameworks`")
    program = ROOT / "examples" / "demo" / "small_model.py"
    command = [str(python), str(program), "--port", str(free_port()), "--tokens", "24"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        connection = {"name": SMALL, "config": {"baseUrl": url}, "secret": {"apiKey": "none"}}
        create(server, "openai", "smollm2-135m", connection)
        yield SMALL
        process.kill()


def create(server: Server, kind: str, model: str, connection: dict[str, Any]) -> None:
    """A connection and a model, both of the type's name, or of the name in ``connection``."""
    name = connection.pop("name", kind)
    spec = {"integrationConnections": [name], "runtime": {"type": kind, "model": model}}
    for path, body in (
        ("integrations/connections", {"integration": kind, **connection}),
        ("models", spec),
    ):
        made = server.client.post(f"/v0/{path}", json={"metadata": {"name": name}, "spec": body})
        assert made.status_code == 200, made.text


def interpreted(program: str, workdir: Path) -> list[str]:
    """The command that runs a program, with what it imports in reach."""
    script = HERE / "programs" / f"with_{program}"
    if script.suffix == ".py":
        return [str(PYTHON), str(script)]
    if not (TYPESCRIPT / ".ready").exists():
        pytest.skip("NOT TESTED: the TypeScript SDK's adapters are not installed")
    (workdir / "node_modules").symlink_to(TYPESCRIPT / "node_modules")
    for name in ("trial.mjs", script.name):
        (workdir / name).write_bytes((HERE / "programs" / name).read_bytes())
    return ["node", str(workdir / script.name)]


@pytest.fixture
def run(server: Server, frameworks: Path, tmp_path: Path) -> Run:
    def run(program: str, models: dict[str, tuple[str, ...]]) -> list[Found]:
        asked = [f"{model}={','.join(ways)}" for model, ways in models.items()]
        outcomes = tmp_path / f"{program}.jsonl"
        command = [*COMMAND, "exec", *server.options(), "--", *interpreted(program, tmp_path)]
        done = subprocess.run(
            [*command, str(outcomes), *asked],
            cwd=tmp_path,
            env=environment(
                SERAI_ADMIN_API_KEY=KEY,
                HOME=str(tmp_path),
                PATH=os.environ["PATH"],
                **QUIET,
                **PLACEHOLDERS,
            ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        return [Found(**json.loads(line)) for line in outcomes.read_text().splitlines()]

    return run
