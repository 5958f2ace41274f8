"""The wheel: what `pip install serai` brings."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREE = (".gitignore", "src", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy without the console."""
    unwanted = shutil.ignore_patterns("__pycache__", "static")
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=unwanted)
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


def build(checkout: Path) -> "subprocess.CompletedProcess[str]":
    command = "import hatchling.build, sys; print(hatchling.build.build_wheel('.'))"
    return subprocess.run(
        [sys.executable, "-c", command], cwd=checkout, capture_output=True, text=True, check=False
    )


def test_it_is_not_made_without_the_console_and_has_it_else(checkout: Path) -> None:
    refused = build(checkout)
    assert refused.returncode != 0
    assert "run `make console` first" in refused.stderr
    static = checkout / "src/serai/console/static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!--session-->")
    (static / "assets" / "a.js").write_text("0")
    made = build(checkout)
    assert made.returncode == 0, made.stderr
    names = zipfile.ZipFile(checkout / made.stdout.splitlines()[-1]).namelist()
    assert "serai/console/static/index.html" in names
    assert "serai/console/static/assets/a.js" in names
