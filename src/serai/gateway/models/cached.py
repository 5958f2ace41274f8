"""A call of a model whose answers are kept: answered from memory, or kept for the next one."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from serai.gateway.exchange import Exchange
from serai.gateway.forwarding import DROPPED_FOR_MODEL
from serai.gateway.models.answers import Directives, Entry, Recording, directives_of, key_of
from serai.gateway.models.plans import Plan
from serai.gateway.models.routed import RoutedExchange
from serai.gateway.request import Request
from serai.gateway.targets import Target
from serai.gateway.upstream import Answer

if TYPE_CHECKING:
    from serai.gateway.protocol import GatewayProtocol

_ENTRY_KB = 1024


class CachedExchange(RoutedExchange):
    """One call of a model with ``spec.gateway.cache``.

    Attributes:
        found: ``hit``, ``miss``, or ``bypass`` where the client or the kind of call wants no cache.
    """

    __slots__ = ("age", "found", "key", "recording", "replay")

    def __init__(self, client: "GatewayProtocol", request: Request, target: Target) -> None:
        RoutedExchange.__init__(self, client, request, target)
        self.found = "bypass"
        self.age = 0
        self.key: bytes | None = None
        self.recording: Recording | None = None
        self.replay: Iterator[bytes] | None = None

    def _set_out(self, plan: Plan) -> None:
        wanted = directives_of(self.request.index.get(b"cache-control"))
        if self._may_keep(plan) and wanted.keeps:
            self.key = self._key(plan)
            self.found = "miss"
            entry = self._look(self.key, wanted)
            if entry is not None:
                self._answer(entry)
                return
        super()._set_out(plan)

    def _may_keep(self, plan: Plan) -> bool:
        method = self.request.method
        cache = self.called.gateway.cache
        return cache is not None and plan.asks and method == b"POST" and self._is_json()

    def _key(self, plan: Plan) -> bytes:
        body = self._rewritten(plan, self.held or b"")
        headers = [field for field in self.request.headers if field[0] not in DROPPED_FOR_MODEL]
        start = plan.start(self.credential.query)
        return key_of(self.called.resource_id, start, headers, body, strip=self.strip)

    def _look(self, key: bytes, wanted: Directives) -> Entry | None:
        cache = self.called.gateway.cache
        if cache is None or not wanted.looks:
            return None
        ttl = min(float(cache.ttl_seconds or 0), wanted.max_age)
        found = self.gateway.answers.find(self.called.workspace, key, ttl)
        if found is None:
            return None
        entry, self.age = found
        return entry

    # -- from memory
    def _answer(self, entry: Entry) -> None:
        """Answer as the provider did, in the pieces in which it came."""
        self.asked = b"" if self.logged is None else self.held or b""
        self.found, self.held = "hit", None
        self.sent = self.ended = True
        self.sent_at = self.headed = self.first = time.time()
        if self.granted is not None:
            self._begin_limited(self.called, entry.answer)
        else:
            self._begin_answer(entry.answer)
        self.streamed = entry.streamed
        self.told = None if self.logged is None else []
        self.out.insert(-1, b"age: %d\r\n" % self.age)
        self.replay = iter(entry.pieces)
        self._replay()

    def _replay(self) -> None:
        """Send on, for as long as the client takes it."""
        replay = self.replay
        while replay is not None and not self.client.flow.write_paused:
            piece = next(replay, None)
            if piece is None:
                self.replay = None
                Exchange.settled(self)
                return
            if self.told is not None:
                self._seen(piece)
            Exchange.received(self, piece)
            self.flush()

    def client_ready(self) -> None:
        super().client_ready()
        if not self.done:
            self._replay()

    # -- into memory
    def answered(self, answer: Answer) -> None:
        super().answered(answer)
        cache = self.called.gateway.cache
        own = self.route is not None and self.route.resource_id == self.called.resource_id
        if not self.head_sent or answer.empty or not 200 <= answer.status < 300:
            return
        if self.key is not None and own and cache is not None:
            most = (cache.max_entry_kb or _ENTRY_KB) * 1024
            kept = msgspec.structs.replace(answer, length=self.answer_length(answer))
            self.recording = Recording(kept, most, streamed=self.streamed)

    def _forget(self) -> None:
        super()._forget()
        self.recording = None

    def received(self, data: bytes) -> None:
        before = len(self.out)
        super().received(data)
        if self.recording is not None:
            passed = self.out[before:]
            self._note(passed[1 if self.chunked_out else 0] if passed else b"")

    def _pass_rest(self, rest: bytes) -> None:
        self._note(rest)
        super()._pass_rest(rest)

    def _note(self, data: bytes) -> None:
        if self.recording is not None and not self.recording.add(data):
            self.recording = None

    def settled(self) -> None:
        super().settled()
        recording = self.recording
        if recording is None or self.key is None or not self.done or self.status >= 300:
            return
        if not recording.failed():
            self.gateway.answers.keep(self.called.workspace, self.key, recording)

    def _marks(self) -> dict[str, str]:
        return super()._marks() | {"x-serai-cache": self.found}

    def cache_state(self) -> str:
        return "" if self.found == "bypass" else self.found
