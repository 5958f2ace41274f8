"""A real, small DNS server over UDP."""

import socket
import threading
from types import TracebackType

import dns.message
import dns.rcode
import dns.rrset


class Zone:
    """Answers ``records[name, type]``; a name whose first label is ``*`` matches any label."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.failing = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "Zone":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                raw, sender = self._socket.recvfrom(4096)
                self._socket.sendto(self._answer(dns.message.from_wire(raw)).to_wire(), sender)
            except OSError:
                return

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        if self.failing:
            answer.set_rcode(dns.rcode.SERVFAIL)
            return answer
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = question.rdtype.name
        wild = "*." + name.partition(".")[2]
        found = next((n for n in (name, wild) if any(n == known for known, _ in self.records)), "")
        values = self.records.get((found, kind))
        if values:
            answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *values))
        elif not found:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer
