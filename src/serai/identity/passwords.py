"""Passwords: argon2id, hashed in threads, a few at a time.

A check costs a tenth of a second of one core and 64 MiB, by design. Two run at a time, and few may
wait, so that nobody can exhaust the machine with wrong passwords.
"""

import asyncio
import secrets
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection, delete, insert, select

from serai.kernel.clock import rfc3339
from serai.kernel.errors import BadRequest, ServiceUnavailable
from serai.store.tables.identity import users
from serai.store.tables.sign_in import passwords

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LENGTH_MIN = 12
BYTES_MAX = 1024
DISTINCT_MIN = 5
AT_ONCE = 2
WAITING_MAX = 64
CANDIDATES_MAX = 4
"""Accounts do not share users, so one address can have several passwords; more are not tried."""
COMMON = (
    "password",
    "passwort",
    "qwertyuiop",
    "administrator",
    "letmein",
    "iloveyou",
    "welcome",
    "changeme",
    "correcthorsebatterystaple",
    "serai",
    "blaxel",
)
"""What a password may not be made of with nothing added but digits and punctuation."""
RUNS = ("01234567890123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm")


class Stored(msgspec.Struct, frozen=True):
    """A password as stored: whose, and its argon2id text."""

    user_id: str
    hash: str


class Match(msgspec.Struct, frozen=True):
    """Whose a right password is. ``renewed`` replaces a hash that was made with old costs."""

    user_id: str
    renewed: str | None


class Passwords:
    """Hashes and checks passwords without holding up the event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="serai-password")
        self._waiting = 0
        self._decoy = ""

    async def hash(self, password: str) -> str:
        """The text to store for a password.

        Raises:
            ServiceUnavailable: too many wait already.
        """
        return str(await self._run(lambda: _hasher().hash(_bytes(password))))

    async def match(self, candidates: list[Stored], password: str) -> Match | None:
        """The candidate with that password.

        Without a candidate a decoy is checked: the time tells nobody whether an address is known.

        Raises:
            ServiceUnavailable: too many wait already.
        """
        found: Match | None = await self._run(lambda: self._match(candidates, password))
        return found

    def _match(self, candidates: list[Stored], password: str) -> Match | None:
        text = _bytes(password)
        for one in candidates:
            if verify(one.hash, text):
                stale = _hasher().check_needs_rehash(one.hash)
                return Match(one.user_id, _hasher().hash(text) if stale else None)
        if not candidates:
            self._decoy = self._decoy or _hasher().hash(secrets.token_bytes(16))
            verify(self._decoy, text)
        return None

    async def _run(self, work: Any) -> Any:
        if self._waiting >= WAITING_MAX:
            raise ServiceUnavailable(
                "Too many people are signing in at this moment: try again in a few seconds.",
                headers={"Retry-After": "5"},
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Drop what waits."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)


def verify(stored: str, password: bytes) -> bool:
    """Whether a password belongs to a stored hash."""
    from argon2.exceptions import Argon2Error, InvalidHashError

    try:
        return _hasher().verify(stored, password)
    except (Argon2Error, InvalidHashError):
        return False


def check_new(password: str, email: str) -> None:
    """Refuse a password that is easy to guess.

    Raises:
        BadRequest: says what is wrong with it.
    """
    if len(password) < LENGTH_MIN:
        raise BadRequest(f"The password is too short: use at least {LENGTH_MIN} characters.")
    if len(_bytes(password)) > BYTES_MAX:
        raise BadRequest(f"The password is too long: use at most {BYTES_MAX} bytes.")
    plain = password.casefold()
    letters = "".join(character for character in plain if character.isalpha())
    local = email.casefold().partition("@")[0]
    common = letters in COMMON or plain in {email.casefold(), local}
    if common or len(set(plain)) < DISTINCT_MIN or _is_run(plain):
        raise BadRequest("That password is easy to guess: choose another, for example four words.")


def _is_run(text: str) -> bool:
    return any(text in run or text[::-1] in run for run in RUNS)


def _bytes(password: str) -> bytes:
    """The same password is the same bytes, however a keyboard composes its letters."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


def candidates(conn: Connection, email: str) -> list[Stored]:
    """Every password of the users with an address, oldest user first."""
    query = (
        select(passwords.c.user_id, passwords.c.hash)
        .join(users, users.c.id == passwords.c.user_id)
        .where(users.c.email == email.strip().lower())
        .order_by(users.c.created_at)
        .limit(CANDIDATES_MAX)
    )
    return [Stored(row.user_id, row.hash) for row in conn.execute(query)]


def of_user(conn: Connection, user_id: str) -> Any | None:
    """The row of a user's password."""
    return conn.execute(select(passwords).where(passwords.c.user_id == user_id)).one_or_none()


def store(conn: Connection, user_id: str, hashed: str, at: datetime) -> None:
    """Set a user's password."""
    conn.execute(delete(passwords).where(passwords.c.user_id == user_id))
    row = {"user_id": user_id, "hash": hashed, "changed_at": rfc3339(at)}
    conn.execute(insert(passwords).values(row))


def renew(conn: Connection, user_id: str, before: str, hashed: str) -> None:
    """Replace a hash by one of the same password, unless it was changed meanwhile."""
    same = (passwords.c.user_id == user_id, passwords.c.hash == before)
    conn.execute(passwords.update().where(*same).values(hash=hashed))
