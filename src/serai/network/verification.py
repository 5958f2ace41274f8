"""Whether a domain's DNS zone holds the records that we ask for. Asks real DNS servers."""

from collections.abc import Sequence

import msgspec

from serai.kernel.ids import token
from serai.network.settings import Nameserver

TIMEOUT_SECONDS = 5.0
"""For one question, over all servers and retries."""


class WantedRecords(msgspec.Struct, frozen=True, kw_only=True):
    """The records of one domain.

    Attributes:
        txt: TXT record names to values.
        source: the name that must lead to ``target``; ``*.`` in front stands for any label.
        target: a host name; ``None`` when there is nothing to lead to.
    """

    txt: dict[str, str]
    source: str
    target: str | None


class DnsVerifier:
    """Asks the given DNS servers, or the system's when there are none."""

    def __init__(self, nameservers: Sequence[Nameserver], timeout: float = TIMEOUT_SECONDS) -> None:
        self._nameservers = nameservers
        self._timeout = timeout

    async def problem(self, wanted: WantedRecords) -> str | None:
        """What is wrong with the records, and the fix; ``None`` when all are right."""
        for name, value in wanted.txt.items():
            found = await self._ask(name, "TXT")
            if found.values is None:
                return f"The TXT record {name} could not be read: {found.failure}."
            if value not in found.values:
                return (
                    f"The TXT record {name} {_found(found.values)}. Set it to {value} and verify "
                    "again; a change in DNS may take as long as the old record's TTL."
                )
        return await self._route_problem(wanted.source, wanted.target)

    async def _route_problem(self, source: str, target: str | None) -> str | None:
        if target is None:
            return None
        probe = source.replace("*", f"serai-{token(8)}", 1)
        alias = await self._ask(probe, "CNAME")
        if target in (alias.values or ()) or await self._same_address(probe, target):
            return None
        if alias.values is None:
            return f"The record {source} could not be read: {alias.failure}."
        return (
            f"The CNAME record {source} {_found(alias.values)}. Point it to {target} and verify "
            "again."
        )

    async def _same_address(self, probe: str, target: str) -> bool:
        """For zones that cannot hold a CNAME and repeat the target's addresses instead."""
        for kind in ("A", "AAAA"):
            theirs = await self._ask(probe, kind)
            if theirs.values and theirs.values & ((await self._ask(target, kind)).values or set()):
                return True
        return False

    async def _ask(self, name: str, kind: str) -> "_Answer":
        # Imported here: only few servers ever verify a domain, and it costs 50 ms of a start.
        import dns.asyncresolver
        import dns.exception
        import dns.resolver

        try:
            resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
            if self._nameservers:
                resolver.nameservers = [
                    dns.nameserver.Do53Nameserver(server.host, server.port)
                    for server in self._nameservers
                ]
            answer = await resolver.resolve(name, kind, lifetime=self._timeout, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return _Answer(set())
        except (dns.exception.DNSException, OSError) as problem:
            return _Answer(None, " ".join(str(problem).split())[:200].rstrip("."))
        return _Answer({_text(record, kind) for record in answer})


class _Answer(msgspec.Struct, frozen=True):
    values: set[str] | None
    failure: str = ""


def _text(record: object, kind: str) -> str:
    if kind == "TXT":
        return b"".join(record.strings).decode("utf-8", "replace")  # type: ignore[attr-defined]
    return str(record).rstrip(".").lower()


def _found(values: set[str]) -> str:
    if not values:
        return "is missing"
    return "has " + ", ".join(repr(value[:80]) for value in sorted(values)[:5])
