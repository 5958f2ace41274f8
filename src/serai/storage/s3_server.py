"""The S3 endpoint of drives: an S3 server of others, confined to their files.

Serai runs ``versitygw`` (Apache-2.0), whose buckets are directories: each drive is one, named by
the drive's id. Serai tells it, by files, whose keys there are and who may use which bucket.
"""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

import msgspec
import structlog

from serai.runtime import linux
from serai.runtime.confined import Confined, Shown, start
from serai.storage.ports import HostDisks
from serai.storage.s3_access import Access, access, forget_ended
from serai.store.database import Database
from serai.store.secrets import Vault

log = structlog.get_logger(__name__)

PROGRAM = "versitygw"
INSTALL = "go install github.com/versity/versitygw/cmd/versitygw@v1.8.0"
REGION = "us-east-1"
_LOOK_SECONDS = 1.0
_PATIENCE_SECONDS = 5.0
_OWNER = "serai"


class S3Server:
    """Runs the server, and keeps what it knows up to date.

    Args:
        root: a directory for it.
        port: on loopback.
    """

    def __init__(self, db: Database, vault: Vault, disks: HostDisks, root: Path, port: int) -> None:
        self._db = db
        self._vault = vault
        self._disks = disks
        self._root = root
        self._port = port
        self._told: Access | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._secret = secrets.token_hex(32)

    @property
    def endpoint(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self._port}"

    async def run(self) -> None:
        """Serve until cancelled; says in the log what is missing, if anything is."""
        program = shutil.which(PROGRAM)
        if program is None:
            log.warning("s3_unavailable", reason=f"{PROGRAM} is not installed: {INSTALL}")
            return
        try:
            self._prepare()
            while True:
                await self._tell()
                if self._process is None or self._process.poll() is not None:
                    self._start(program)
                await asyncio.sleep(_LOOK_SECONDS)
        except OSError as error:
            log.warning("s3_unavailable", reason=str(error))
        finally:
            self._stop()

    def _prepare(self) -> None:
        """Directories; the one with secrets is in memory, and this process's alone."""
        for name in ("meta", "root", "known"):
            (self._root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        linux.mount("tmpfs", str(self._root / "known"), "tmpfs", options="size=16m,mode=700")

    async def _tell(self) -> None:
        await self._db.write(forget_ended)
        known = await self._db.read(lambda conn: access(conn, self._vault))
        for drive in known.drives:
            if not (path := self._disks.drives / drive).exists():
                await asyncio.to_thread(self._disks.make_drive, path)
        if known != self._told:
            await asyncio.to_thread(self._write, known)
            self._told = known

    def _write(self, known: Access) -> None:
        accounts = {
            key: {"access": key, "secret": secret, "role": "user"}
            for key, secret in known.secrets.items()
        }
        for drive, keys in known.drives.items():
            grants = [
                {"Permission": permission, "Access": key, "Type": "CanonicalUser"}
                for key in keys
                for permission in ("READ", "WRITE", "READ_ACP")
            ]
            acl = {"Owner": _OWNER, "Grantees": grants}
            _replace(self._root / "meta" / drive / "meta" / "acl", msgspec.json.encode(acl))
        for gone in (self._root / "meta").iterdir():
            if gone.name not in known.drives:
                shutil.rmtree(gone, ignore_errors=True)
        users = msgspec.json.encode({"accessAccounts": accounts})
        _replace(self._root / "known" / "users.json", users)

    def _start(self, program: str) -> None:
        wanted = Confined(
            root=str(self._root / "root"),
            shown=(
                Shown(source=program, name=PROGRAM, read_only=True, runs=True),
                Shown(source=str(self._disks.drives), name="drives"),
                Shown(source=str(self._root / "meta"), name="meta"),
                Shown(source=str(self._root / "known"), name="known"),
            ),
            command=(
                f"/{PROGRAM}",
                *("--port", f"127.0.0.1:{self._port}", "--region", REGION, "--quiet"),
                *("--iam-dir", "/known", "--iam-cache-disable"),
                *("posix", "--sidecar", "/meta", "--disableotmp", "/drives"),
            ),
            environment={"ROOT_ACCESS_KEY": _OWNER, "ROOT_SECRET_KEY": self._secret},
        )
        with (self._root / "log").open("ab") as output:
            self._process = start(wanted, output)
        log.info("s3_started", endpoint=self.endpoint, pid=self._process.pid)

    def _stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if (self._root / "known").is_mount():
            linux.unmount(str(self._root / "known"))


def s3_server(
    db: Database, vault: Vault, disks: HostDisks, data_dir: Path, port: int
) -> S3Server | None:
    """The server, unless there is no port for it."""
    return S3Server(db, vault, disks, data_dir / "s3", port) if port else None


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    draft.replace(path)
