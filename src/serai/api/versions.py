"""The registry of API versions: the one place that knows which exist and what changed.

Clients pin one with the ``Blaxel-Version`` header, ``YYYY-MM-DD`` or ``YYYY-MM-DD.preview``.
"""

import msgspec

from serai.kernel.errors import BadRequest

HEADER = "Blaxel-Version"


class Version(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One dated version. ``status`` is ``stable`` or ``preview``."""

    version: str
    status: str
    default: bool
    notes: str


class UnknownVersion(BadRequest):
    """The header names a version that does not exist."""

    code = "invalid_api_version"


class VersionRegistry:
    """All versions in order of date; each date exists as stable and as preview."""

    def __init__(self, releases: dict[str, str], docs_url: str) -> None:
        self._docs_url = docs_url
        self.versions = [
            Version(version=name, status=status, default=name == min(releases), notes=notes)
            for date, notes in sorted(releases.items())
            for name, status in ((date, "stable"), (f"{date}.preview", "preview"))
        ]
        self.default = min(releases)
        self._known = {version.version for version in self.versions}

    def resolve(self, header: str | None) -> str:
        """The version of a request; without a header the earliest stable one.

        Raises:
            UnknownVersion: no such version; the message lists those there are.
        """
        if header is None or header in self._known:
            return header or self.default
        valid = ", ".join(version.version for version in self.versions)
        raise UnknownVersion(
            f'Unknown API version "{header}". Valid versions: {valid}. '
            f"See {self._docs_url}#api-versioning for the list of supported versions."
        )


RELEASES = {
    "2026-04-16": "The earliest version and the default: every list is a bare array.",
    "2026-04-20": "No breaking change.",
    "2026-04-28": (
        "Lists of agents, applications, drives, functions, jobs and their executions, models, "
        "policies, sandboxes, sandbox schedules and their executions, and volumes become pages, "
        "{data, meta}, with cursor, limit, sort, q and anchor."
    ),
    "2026-09-22": "The list of images becomes a page too.",
}

PAGES_SINCE = "2026-04-28"
"""From this version on, lists of paged kinds answer ``{data, meta}``."""


def at_least(version: str, date: str) -> bool:
    """Whether a request's version is ``date`` or later; a preview counts as its date."""
    return version[:10] >= date
