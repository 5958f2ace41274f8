"""Every defence that the threat model claims names code and tests that are there."""

import re

import pytest

from client_venv import ROOT

PAGE = (ROOT / "docs/explanation/threat-model.md").read_text()
NAMED = re.compile(r"`([a-z]+/(?:[a-z0-9_/]+\.py)?)`")
ROWS = [
    line.strip("|").split("|")
    for line in PAGE.splitlines()
    if line.count("|") == 4 and not line.startswith(("|---", "| Threat"))
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip()[:40])
def test_what_a_row_names_exists(row: list[str]) -> None:
    _, defence, shown_by = row
    for name in NAMED.findall(defence):
        assert (ROOT / "src/serai" / name).exists(), name
    tests = NAMED.findall(shown_by)
    assert tests or "follows from" in shown_by
    for name in tests:
        assert (ROOT / "tests" / name).exists(), name


def test_there_are_rows() -> None:
    assert len(ROWS) > 20
