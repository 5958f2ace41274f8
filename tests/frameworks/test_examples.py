"""The examples of the page on frameworks, each run with a real small model."""

import re
import subprocess
from pathlib import Path

import pytest

from platform_server import COMMAND, KEY, Server, environment

from .conftest import PLACEHOLDERS, PYTHON, QUIET, ROOT, TYPESCRIPT

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(600)]
PAGE = (ROOT / "docs" / "how-to" / "frameworks.md").read_text()
EXAMPLES = re.findall(r"^## (.+?)\n.*?^```(python|javascript)\n(.*?)^```$", PAGE, re.M | re.S)


def test_the_page_has_an_example_of_each_adapter() -> None:
    named = {name for _, _, text in EXAMPLES for name in re.findall(r"\S*blaxel[./](\w+)", text)}
    adapters = {"crewai", "googleadk", "langgraph", "livekit", "llamaindex", "openai", "pydantic"}
    assert named - {"core"} == adapters
    assert len(EXAMPLES) == len(adapters) + 2


@pytest.mark.parametrize(
    ("language", "text"), [example[1:] for example in EXAMPLES], ids=[name for name, *_ in EXAMPLES]
)
def test_an_example(
    language: str, text: str, server: Server, frameworks: Path, small_model: str, tmp_path: Path
) -> None:
    if language == "javascript" and not (TYPESCRIPT / ".ready").exists():
        pytest.skip("NOT TESTED: the TypeScript SDK's adapters are not installed")
    assert f'"{small_model}"' in text
    script = tmp_path / ("ask.py" if language == "python" else "ask.mjs")
    script.write_text(text)
    (tmp_path / "node_modules").symlink_to(TYPESCRIPT / "node_modules")
    interpreter = str(PYTHON) if language == "python" else "node"
    done = subprocess.run(
        [*COMMAND, "exec", *server.options(), "--", interpreter, str(script)],
        cwd=tmp_path,
        env=environment(SERAI_ADMIN_API_KEY=KEY, HOME=str(tmp_path), **QUIET, **PLACEHOLDERS),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip()
