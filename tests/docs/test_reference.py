"""The reference says what the code says."""

import re

import click
import msgspec
import pytest

from client_venv import ROOT
from serai.api.versions import RELEASES, VersionRegistry
from serai.cli import main
from serai.gateway.limits import Limits
from serai.kernel.settings import Settings

REFERENCE = ROOT / "docs/reference"
COMMAND_LINE = (REFERENCE / "command-line.md").read_text()


def rows(text: str) -> list[list[str]]:
    """The cells of every table row."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line[1:-1])] for line in lines]
    return [row for row in cells if not set("".join(row)) <= set("-: ")]


def test_the_versions_are_those_of_the_registry() -> None:
    shown = [row for row in rows((REFERENCE / "api-versions.md").read_text()) if "`20" in row[0]]
    known = VersionRegistry(RELEASES, "").versions
    assert shown == [
        [f"`{one.version}`", one.status, "yes" if one.default else "", one.notes] for one in known
    ]


@pytest.mark.parametrize("name", [field.name for field in msgspec.structs.fields(Settings)])
def test_every_setting_is_explained(name: str) -> None:
    row = [f"`{name}`", f"`SERAI_{name.upper()}`"]
    assert row in [cells[:2] for cells in rows(COMMAND_LINE)]


def options() -> list[tuple[str, str]]:
    """Every option of every command."""
    return [
        (name, parameter.opts[0])
        for name, command in main.commands.items()
        for parameter in command.params
        if isinstance(parameter, click.Option)
    ]


@pytest.mark.parametrize(("command", "option"), options())
def test_every_option_is_explained(command: str, option: str) -> None:
    section = COMMAND_LINE.partition(f"## serai {command}")[2].partition("\n## ")[0]
    assert option in section or option in COMMAND_LINE.partition("## Common options")[2]


@pytest.mark.parametrize("name", ["url_bytes", "header_bytes", "header_count", "model_body_bytes"])
def test_the_gateways_limits_are_told(name: str) -> None:
    value = getattr(Limits(), name)
    shown = f"{value // 2**20} MiB" if value >= 2**20 else f"{value // 1024} KiB"
    text = (REFERENCE / "sandboxes.md").read_text() + (REFERENCE / "errors.md").read_text()
    assert (str(value) if value < 1024 else shown) in text
