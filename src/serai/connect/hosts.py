"""Host names of the hosted service: the ones we answer for, and the ones we keep clients from."""

from collections.abc import Iterable

SERVED = ("api.blaxel.ai", "run.blaxel.ai", "api.blaxel.dev", "run.blaxel.dev")
"""Hosts built into clients for which this server answers, on port 443."""

DOMAINS = ("blaxel.ai", "blaxel.dev", "bl.run")
"""Domains of the hosted service: a client of ours that goes there carries our keys away."""

TELEMETRY = ("o4508714045276160.ingest.us.sentry.io",)
"""Where the hosted service's SDKs report errors to."""


def is_served(host: str) -> bool:
    """Whether this server answers for ``host`` (a lower-case name without a trailing dot)."""
    return host in SERVED


def is_hosted(host: str) -> bool:
    """Whether ``host`` belongs to the hosted service or collects its telemetry."""
    return host in TELEMETRY or any(host == d or host.endswith(f".{d}") for d in DOMAINS)


def without_bypasses(no_proxy: Iterable[str]) -> list[str]:
    """Entries of a NO_PROXY list except those that would let a client past our proxy.

    Clients differ in what an entry matches; the widest reading counts: any ending of the host's
    name (requests, httpx), and ``*`` everything.
    """
    return [entry for entry in no_proxy if not _bypasses(entry)]


def _bypasses(entry: str) -> bool:
    domain = entry.strip().lower().lstrip("*").strip(".").partition(":")[0]
    if not domain:
        return "*" in entry
    return any(host.endswith(domain) for host in SERVED)
