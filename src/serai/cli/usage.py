"""`serai usage`: looking after what the bill is made of."""

import sys
from datetime import UTC, datetime, timedelta

import click

from serai.cli.options import common_options, load_settings
from serai.kernel.clock import millis, now, parse_rfc3339, rfc3339
from serai.kernel.errors import SeraiError
from serai.kernel.settings import Settings

SHOWN_MAX = 100


@click.group("usage")
def usage_command() -> None:
    """Look after recorded usage."""


@usage_command.command("verify")
@common_options
@click.option("--from", "start", metavar="TIME", help="RFC 3339; as far back as events are kept.")
@click.option("--to", "end", metavar="TIME", help="RFC 3339; now, unless given.")
def verify_command(start: str | None, end: str | None, **flags: str | None) -> None:
    """Recompute usage from single events and compare it with the sums that bills are made from.

    Works while the server runs, too. Exits with 0 when nothing differs, else with 1 and a table of
    the differences.
    """
    settings = load_settings(**flags)
    moment = now()
    oldest = _oldest(settings, moment)
    begin = _hour(_time("--from", start), oldest)
    finish = _time("--to", end) or moment
    if begin < oldest:
        raise click.UsageError(
            f"--from is before {rfc3339(oldest)}: single events are kept for "
            f"{settings.usage_event_retention} days (usage_event_retention)."
        )
    if finish <= begin:
        raise click.UsageError("--to must be after --from.")
    sys.exit(_verify(settings, begin, finish))


def _verify(settings: Settings, start: datetime, end: datetime) -> int:
    from serai.metering.store import FILE, UsageStore
    from serai.metering.verification import verify

    if settings.usage_database_url is None and not (settings.data_dir / FILE).exists():
        raise click.ClickException(
            f"there is no {FILE} in {settings.data_dir}; name the right directory with --data-dir."
        )
    store = UsageStore(settings.data_dir, settings.usage_database_url)
    try:
        store.check()
        report = store.read_now(lambda conn: verify(conn, millis(start), millis(end)))
    except SeraiError as problem:
        raise click.ClickException(problem.message) from problem
    finally:
        store.close()
    window = f"{rfc3339(start)} to {rfc3339(end)}"
    if not report.differences:
        click.echo(f"{window}: {report.compared} numbers compared, all agree.")
        return 0
    click.echo(f"{window}: {len(report.differences)} of {report.compared} numbers differ.")
    rows = [
        (
            found.what,
            rfc3339(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=found.start)),
            found.workspace,
            found.resource or "(all)",
            found.dimension,
            str(found.stored),
            str(found.recomputed),
        )
        for found in report.differences[:SHOWN_MAX]
    ]
    head = ("WHAT", "FROM", "WORKSPACE", "RESOURCE", "DIMENSION", "STORED", "RECOMPUTED")
    widths = [max(len(row[number]) for row in [head, *rows]) for number in range(len(head))]
    for row in [head, *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
    if len(report.differences) > SHOWN_MAX:
        click.echo(f"… and {len(report.differences) - SHOWN_MAX} more")
    return 1


def _oldest(settings: Settings, moment: datetime) -> datetime:
    kept = moment - timedelta(days=settings.usage_event_retention)
    return kept.replace(minute=0, second=0, microsecond=0)


def _time(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise click.UsageError(
            f"{option} {text[:40]!r} is not an RFC 3339 time such as 2026-05-01T00:00:00Z."
        ) from None


def _hour(moment: datetime | None, default: datetime) -> datetime:
    """The full hour that a moment is in: events are added up by hour."""
    return (moment or default).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
