"""`serai status`: is the server up, and where."""

import http.client
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import click

from serai.cli.options import (
    NOT_RUNNING,
    common_options,
    load_settings,
    not_running_message,
    running_instance,
)
from serai.kernel.settings import Settings, local_origin

_SECONDS = 5.0


@click.command("status")
@common_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status_command(as_json: bool, **flags: str | None) -> None:
    """Show whether the server runs, where, and since when.

    Exits with 0 when it answers and with 3 when it does not.
    """
    settings = load_settings(**flags)
    # A server named by flags may run elsewhere, for example in a container.
    named = flags["host"] is not None or flags["port"] is not None
    report = _report(settings, named)
    if as_json:
        click.echo(json.dumps(report))
    elif report["running"]:
        click.echo(_table(report))
    else:
        click.echo(f"Not running: {report['reason']}", err=True)
    sys.exit(0 if report["running"] else NOT_RUNNING)


def _report(settings: Settings, named: bool) -> dict[str, Any]:
    found = running_instance(settings)
    if found is None and not named:
        return {"running": False, "reason": not_running_message(settings)}
    origin = local_origin(settings.host, settings.port)
    if found is not None and not named:
        origin = found.local_url
    try:
        health = _health(origin)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return {"running": False, "url": origin, "reason": f"{origin}/health: {error}"}
    report: dict[str, Any] = {"running": True, "url": origin, "version": health.get("version")}
    if found is not None and found.local_url == origin:
        uptime = datetime.now(UTC) - found.started_at
        report |= {"url": found.url, "version": found.version, "pid": found.pid}
        report |= {"workspace": found.workspace, "dataDir": str(settings.data_dir)}
        report["uptimeSeconds"] = int(uptime.total_seconds())
    return report | ({"sandboxes": health["sandboxes"]} if "sandboxes" in health else {})


def _health(origin: str) -> Mapping[str, Any]:
    """The body of ``GET /health``, asked directly, whatever proxies the environment names.

    Raises:
        OSError: nothing listens there.
        ValueError: something else than Serai answers.
    """
    address = urlsplit(origin)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=_SECONDS)
    try:
        connection.request("GET", "/health", headers={"Accept": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise ValueError(f"answered {answer.status}")
    content = json.loads(body)
    if not isinstance(content, dict):
        raise ValueError("what answers there is not Serai")
    return content


def _table(report: Mapping[str, Any]) -> str:
    rows = {
        "Running": report["url"],
        "Version": report["version"],
        "Process": report.get("pid"),
        "Uptime": _duration(report["uptimeSeconds"]) if "uptimeSeconds" in report else None,
        "Workspace": report.get("workspace"),
        "Data": report.get("dataDir"),
        "Sandboxes": _counts(report.get("sandboxes")),
    }
    return "\n".join(f"{name:<10} {value}" for name, value in rows.items() if value is not None)


def _counts(sandboxes: Any) -> str | None:
    if isinstance(sandboxes, dict):
        return ", ".join(f"{count} {state}" for state, count in sandboxes.items()) or "none"
    return None if sandboxes is None else str(sandboxes)


def _duration(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock
