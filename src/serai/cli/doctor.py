"""`serai doctor`: what works on this machine, why not, and what helps."""

import sys
from itertools import groupby

import click
import msgspec

from serai.cli.options import common_options, load_settings
from serai.doctor.findings import Finding

_COLOURS = {"works": "green", "degraded": "yellow", "missing": "red"}


@click.command("doctor")
@common_options
@click.option("--runtime", metavar="NAME", help="Driver to ask for.  [default: the setting]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor_command(as_json: bool, **flags: str | None) -> None:
    """Try out what Serai needs, and say how to get what is missing.

    It starts a sandbox with every driver, and leaves nothing behind. The exit status is 0 when
    sandboxes can be run with these settings, otherwise 1.
    """
    from serai.doctor.report import examine, is_fit

    settings = load_settings(**flags)
    _be_quiet()
    if sys.stderr.isatty():
        click.echo("Trying out what works here; this takes some seconds …", err=True)
    findings = examine(settings)
    fit = is_fit(findings)
    if as_json:
        report = {"fit": fit, "runtime": settings.runtime, "findings": findings}
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        click.echo(_table(findings))
        click.echo(_verdict(settings.runtime, fit))
    sys.exit(0 if fit else 1)


def _be_quiet() -> None:
    """Keep drivers from logging into the report."""
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _table(findings: list[Finding]) -> str:
    width = max(len(each.name) for each in findings)
    lines: list[str] = []
    for group, members in groupby(findings, key=lambda each: each.group):
        lines += ["", click.style(group, bold=True)] if lines else [click.style(group, bold=True)]
        for each in members:
            state = click.style(f"{each.state:<8}", fg=_COLOURS[each.state])
            lines.append(f"  {state}  {each.name:<{width}}  {each.why}")
            if each.fix and each.state != "works":
                lines.append(f"  {'':<8}  {'':<{width}}  -> {each.fix}")
    return "\n".join(lines)


def _verdict(runtime: str, fit: bool) -> str:
    sentence = "Sandboxes can be run" if fit else "Sandboxes cannot be run"
    return "\n" + click.style(f"{sentence} with runtime={runtime}.", bold=True)
