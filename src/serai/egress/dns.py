"""Answers to a sandbox's DNS questions: the only ones it can ask.

Addresses come from the host's resolver and are remembered, as connections are judged by them.
A name that must not be reached is not looked up anywhere, so that no question carries data out.
"""

import asyncio
from collections.abc import Iterable

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset

from serai.egress.addresses import Address, beside
from serai.egress.gate import Gate
from serai.egress.names import SINK, TTL_SECONDS, NoSuchName
from serai.egress.policy import Verdict
from serai.egress.upstreams import Upstreams

MAX_DATAGRAM = 1232
_ADDRESS_TYPES = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}
_FORWARDED = frozenset(
    dns.rdatatype.from_text(name) for name in ("MX", "TXT", "SRV", "NS", "SOA", "CAA", "NAPTR")
)
"""Not HTTPS and SVCB: their keys for encrypted greetings would hide names from the rules."""
_SECONDS = 5.0


class Answers:
    """Answers questions of all sandboxes."""

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        try:
            self._resolver.read_resolv_conf("/etc/resolv.conf")
        except (dns.exception.DNSException, OSError):
            self._resolver.nameservers = []

    async def answer(self, wire: bytes, gate: Gate, limit: int = 65535) -> bytes | None:
        """The answer in at most ``limit`` bytes, or ``None`` for what is no question."""
        try:
            question = dns.message.from_wire(wire)
        except (dns.exception.DNSException, ValueError):
            return None
        if question.flags & dns.flags.QR or question.opcode() != dns.opcode.QUERY:
            return None
        answer = dns.message.make_response(question, recursion_available=True)
        try:
            async with asyncio.timeout(_SECONDS):
                await self._fill(question, answer, gate)
        except (TimeoutError, dns.exception.DNSException):
            answer.set_rcode(dns.rcode.SERVFAIL)
        try:
            return answer.to_wire(max_size=limit)
        except dns.exception.TooBig:
            answer.answer.clear()
            answer.flags |= dns.flags.TC
            return answer.to_wire(max_size=limit)

    async def _fill(
        self, question: dns.message.Message, answer: dns.message.Message, gate: Gate
    ) -> None:
        if len(question.question) != 1 or question.question[0].rdclass != dns.rdataclass.IN:
            answer.set_rcode(dns.rcode.REFUSED)
            return
        asked = question.question[0]
        name = asked.name.to_text(omit_final_dot=True).lower()
        version = _ADDRESS_TYPES.get(asked.rdtype)
        blocked = gate.policy.verdict(name) is Verdict.BLOCK
        if version is not None:
            try:
                found = [SINK] if blocked else await self._addresses(name, gate)
            except NoSuchName:
                answer.set_rcode(dns.rcode.NXDOMAIN)
                return
            _add(answer, asked, [str(each) for each in found if each.version == version])
        elif asked.rdtype in _FORWARDED and not blocked:
            await self._forward(asked, answer)

    async def _addresses(self, name: str, gate: Gate) -> list[Address]:
        """What the sandbox is told: what it may connect to, or where we say that it may not."""
        resolver = self._upstreams.resolver
        virtual = resolver.virtual(name)
        if virtual is not None:
            return [virtual]
        rules = self._upstreams.rules
        async with gate.lookups:
            addresses = await resolver.addresses(name)
            found = [each for each in addresses if rules.allows(each)]
            if not found and any(name == trusted for trusted, _ in gate.policy.trusted):
                found = beside(addresses, self._upstreams.own)
        gate.pins.remember(name, found)
        return found or [SINK]

    async def _forward(self, asked: dns.rrset.RRset, answer: dns.message.Message) -> None:
        if not self._resolver.nameservers:
            answer.set_rcode(dns.rcode.SERVFAIL)
            return
        try:
            found = await self._resolver.resolve(asked.name, asked.rdtype, lifetime=_SECONDS)
        except dns.resolver.NXDOMAIN:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        except dns.resolver.NoAnswer:
            return
        else:
            if found.rrset is not None:
                answer.answer.append(found.rrset)


def _add(answer: dns.message.Message, asked: dns.rrset.RRset, addresses: Iterable[str]) -> None:
    texts = list(addresses)
    if texts:
        kind = dns.rdatatype.to_text(asked.rdtype)
        answer.answer.append(dns.rrset.from_text(asked.name, TTL_SECONDS, "IN", kind, *texts))
