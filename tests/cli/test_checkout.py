"""What a person with a checkout relies on: `make` and the lock files."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
NODE_LOCKS = [
    *sorted((ROOT / "tests" / "clients" / "ts").glob("*/package-lock.json")),
    ROOT / "tests" / "frameworks" / "ts" / "package-lock.json",
]


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_explains_itself() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = re.findall(r"^  make ([a-z-]+) +\S", done.stdout, re.M)
    expected = (
        "help up console test test-workloads test-platform test-clients test-redteam test-images"
        " test-frameworks test-builds test-drivers clients lint parity bench bench-usage bench-jobs"
        " bench-gateway demo demo-llm lock clean"
    )
    assert targets == expected.split()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_file_has_a_hash_and_no_index_is_named(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "--index" not in text
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[a-z0-9._-]+==\S+", block), block
        assert "--hash=sha256:" in block, block


@pytest.mark.parametrize("lock", NODE_LOCKS, ids=lambda path: path.parent.name)
def test_every_locked_node_package_has_a_hash_and_no_registry_is_named(lock: Path) -> None:
    root, *packages = json.loads(lock.read_text())["packages"].values()
    if lock.is_relative_to(ROOT / "tests" / "clients"):
        assert root["dependencies"] == {"@blaxel/core": lock.parent.name}
    for package in packages:
        assert package["integrity"].startswith("sha512-"), package
        assert "resolved" not in package, package


def test_the_locks_agree_with_each_other() -> None:
    pins: dict[str, set[str]] = {}
    for name in ("runtime", "build", "dev"):
        text = (ROOT / "requirements" / f"{name}.lock").read_text()
        for package, version in re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.M):
            pins.setdefault(package, set()).add(version)
    assert {package: found for package, found in pins.items() if len(found) > 1} == {}
