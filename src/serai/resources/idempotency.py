"""``Idempotency-Key``: the same POST twice takes effect once, through crashes too.

A key is claimed in the database before its request runs, and the answer is kept, sealed, after.
When a crash or a failure of ours comes between, the audit entry of the change, written in the
change's own transaction, tells whether the request took effect.
"""

import asyncio
import hashlib
from collections import defaultdict
from datetime import timedelta
from typing import Any

import msgspec
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from sqlalchemy import Connection, delete, insert, select, update

from serai.api.errors import translate
from serai.api.exchange import current_origin
from serai.identity.caller import Caller
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest, Conflict, SeraiError
from serai.kernel.ids import token
from serai.resources import documents
from serai.store.database import Database
from serai.store.reach import unbounded
from serai.store.secrets import Vault
from serai.store.tables.governance import audit_entries
from serai.store.tables.governance import idempotency_keys as keys

LIFETIME = timedelta(hours=24)
KEY_MAX = 255
ANSWER_MAX = 1024 * 1024
Headers = list[tuple[bytes, bytes]]


class Answer(msgspec.Struct, frozen=True):
    """What a request was answered with."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A key that a caller uses for one request."""

    scope: str
    key: str
    digest: bytes
    id: str


class IdempotencyLayer:
    """ASGI middleware inside the guard, around every POST that carries a key."""

    def __init__(self, app: ASGIApp, db: Database, vault: Vault, max_body_bytes: int) -> None:
        self.app = app
        self.db = db
        self._vault = vault
        self._max_body = max_body_bytes
        self._locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._waiting: defaultdict[tuple[str, str], int] = defaultdict(int)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as before when the key was used, else run the request and remember.

        Raises:
            BadRequest: the key is empty, too long or not plain ASCII.
            Conflict: the key was used for another request.
        """
        key = _key(scope)
        caller = scope["state"].get("caller") if key is not None else None
        if key is None or caller is None or scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        body = await _read(receive, self._max_body)
        if len(body) > self._max_body:
            await self.app(scope, _replay(body, receive, more=True), send)
            return
        claim = _claim(scope, caller, key, body)
        place = (claim.scope, claim.key)
        self._waiting[place] += 1
        try:
            async with self._locks[place]:
                await self._once(claim, scope, _replay(body, receive), send)
        finally:
            self._waiting[place] -= 1
            if not self._waiting[place]:
                del self._waiting[place], self._locks[place]

    async def _once(self, claim: Claim, scope: HTTPScope, receive: Receive, send: Send) -> None:
        known = await self.db.write(lambda conn: self._take(conn, claim))
        if known is not None:
            await _answer(known, send)
            return
        current_origin().claim = claim.id
        recorder = Recorder(send)
        try:
            await self.app(scope, receive, recorder.keep)
        except (SeraiError, HTTPException) as problem:
            if translate(problem).status < 500:
                await self.db.write(lambda conn: _release(conn, claim))
            raise
        answer = recorder.answer()
        if answer is None:
            await self.db.write(lambda conn: _release(conn, claim))
        else:
            await self.db.write(lambda conn: self._settle(conn, claim, answer))
        await recorder.send_all()

    def _take(self, conn: Connection, claim: Claim) -> Answer | None:
        """The answer known for a claim; ``None`` when the request has to run, now claimed."""
        c = keys.c
        with unbounded("keys are forgotten when they are old, whoever used them"):
            conn.execute(delete(keys).where(c.created_at < rfc3339(now() - LIFETIME)))
        row = conn.execute(select(keys).where(c.scope == claim.scope, c.key == claim.key)).first()
        if row is not None and row.digest != claim.digest:
            raise Conflict(
                f"Idempotency-Key {claim.key[:80]!r} was used for another request in the last 24 "
                "hours: send that request unchanged, or this one with a new key.",
                code="IDEMPOTENCY_KEY_REUSED",
            )
        if row is not None and row.answer is not None:
            plain = self._vault.unseal(row.answer, _context(claim))
            return msgspec.json.decode(plain, type=Answer)
        if row is not None:
            effect = _effect(conn, row.claim)
            if effect is not None:
                self._settle(conn, claim, effect)
                return effect
            _release(conn, claim)
        conn.execute(
            insert(keys).values(
                scope=claim.scope,
                key=claim.key,
                claim=claim.id,
                digest=claim.digest,
                created_at=rfc3339(now()),
            )
        )
        return None

    def _settle(self, conn: Connection, claim: Claim, answer: Answer) -> None:
        c = keys.c
        sealed = self._vault.seal(msgspec.json.encode(answer), _context(claim))
        mine = (c.scope == claim.scope, c.key == claim.key)
        conn.execute(update(keys).where(*mine).values(answer=sealed))


class Recorder:
    """Holds an answer back until it is remembered; what is not worth that goes straight out."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._messages: list[Message] = []
        self._size = 0
        self._passing = False

    async def keep(self, message: Message) -> None:
        """Take one message of the answer."""
        self._messages.append(message)
        if message["type"] == "http.response.body":
            self._size += len(message.get("body", b""))
        failed = message["type"] == "http.response.start" and message["status"] >= 300
        if failed or self._size > ANSWER_MAX:
            self._passing = True
        if self._passing:
            await self.send_all()

    def answer(self) -> Answer | None:
        """The whole answer; ``None`` for failures and giants."""
        if self._passing or not self._messages:
            return None
        start: Any = self._messages[0]
        headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in start["headers"]]
        rest: list[Any] = self._messages[1:]
        return Answer(start["status"], headers, b"".join(one.get("body", b"") for one in rest))

    async def send_all(self) -> None:
        """Let out what was held back."""
        held, self._messages = self._messages, []
        for message in held:
            await self._send(message)


def _key(scope: Scope) -> str | None:
    if scope["type"] != ScopeType.HTTP or scope["method"] != "POST":
        return None
    if not scope["path"].startswith("/v0/"):
        return None
    for name, value in scope["headers"]:
        if name == b"idempotency-key":
            text = value.decode("latin-1").strip()
            if not 1 <= len(text) <= KEY_MAX or not text.isascii() or not text.isprintable():
                raise BadRequest(
                    f"Idempotency-Key is not usable: send 1 to {KEY_MAX} printable ASCII "
                    "characters, for example a UUID.",
                    code="INVALID_IDEMPOTENCY_KEY",
                )
            return text
    return None


def _claim(scope: HTTPScope, caller: Caller, key: str, body: bytes) -> Claim:
    digest = hashlib.sha256()
    parts = (scope["method"].encode(), scope["path"].encode(), scope["query_string"], body)
    for part in (*parts, (caller.named_workspace or "").encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return Claim(scope=caller.principal.subject, key=key, digest=digest.digest(), id=token(20))


def _release(conn: Connection, claim: Claim) -> None:
    c = keys.c
    conn.execute(delete(keys).where(c.scope == claim.scope, c.key == claim.key))


def _effect(conn: Connection, claim_id: str) -> Answer | None:
    """What a request that a crash cut off did create, as it is now."""
    c = audit_entries.c
    query = select(audit_entries).where(c.claim == claim_id, c.action == "create")
    with unbounded("the claim is this caller's own, and its id nobody else's"):
        entry = conn.execute(query.order_by(c.number).limit(1)).first()
    if entry is None:
        return None
    document = documents.find(conn, entry.workspace, entry.kind, entry.name, entry.parent)
    if document is None or document.id != entry.resource_id:
        return None
    return Answer(200, [("content-type", "application/json")], document.body.encode())


def _context(claim: Claim) -> str:
    return f"idempotency/{claim.scope}/{claim.key}"


async def _read(receive: Receive, limit: int) -> bytes:
    """The body, or so much of it that it is known to be too large."""
    parts: list[bytes] = []
    size = 0
    while size <= limit:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The connection closed before the whole request had come.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if not message.get("more_body"):
            break
    return b"".join(parts)


def _replay(body: bytes, receive: Receive, *, more: bool = False) -> Receive:
    """A channel that gives what was read already, then what comes."""
    sent = False

    async def again() -> Any:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": more}

    return again


async def _answer(answer: Answer, send: Send) -> None:
    headers: Headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in answer.headers]
    headers = [one for one in headers if one[0].lower() != b"content-length"]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    headers.append((b"idempotent-replayed", b"true"))
    start: Any = {"type": "http.response.start", "status": answer.status, "headers": headers}
    await send(start)
    end: Any = {"type": "http.response.body", "body": answer.body, "more_body": False}
    await send(end)
