"""Archives of what sandboxes changed on top of their images: ``POST /archive/export``.

Three sides work together. The runtime tells which paths may have changed, as it alone sees them
from outside; the API in the sandbox freezes it and makes the archive; the archive is read here and
sent on to the storage, over connections that begin in the sandbox, so that the rules of its
network are the ones that count. State is kept in the sandbox, which takes an export for failed
when it has not heard of it for a while: nothing is left to repair after a crash of ours.
"""

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection

from serai.compute import records
from serai.compute.asking import ask
from serai.compute.controller import SandboxController
from serai.compute.kind import need_living
from serai.compute.sending import Sending
from serai.compute.uploading import ExportFailed, Uploader, check_headers, checked_url
from serai.kernel.background import Background
from serai.kernel.errors import BadRequest, Conflict, MethodNotAllowed, SeraiError
from serai.runtime.port import RuntimeProblem, SandboxHandle, SandboxPlan
from serai.wire.sandbox_api import (
    ExportBegin,
    ExportOptions,
    ExportPlan,
    ExportProgress,
    ExportResult,
)

PLACE = "/archive/export"
RESULT_MAX = 64 * 1024 * 1024
PLAN_SECONDS = 600.0
BEAT_SECONDS = 20.0
PARTS_MAX = 10_000
T = TypeVar("T")


class Exports:
    """Answers ``POST /archive/export`` in the place of the sandbox's own API."""

    def __init__(self, controller: SandboxController) -> None:
        self._controller = controller
        self._background = Background()

    async def stop(self) -> None:
        """Cut off what is under way: the sandboxes stay frozen, and their exports have failed."""
        await self._background.cancel()

    async def answer(
        self, workspace: str, sandbox: str, method: str, path: str, body: bytes
    ) -> tuple[int, bytes]:
        """Status and JSON body of a request; errors as the sandbox API shows them."""
        try:
            if method != "POST":
                raise MethodNotAllowed(f"{method[:20]} is not possible here: use POST.")
            options = checked_options(body)
            status, found = await self._export(workspace, sandbox, options)
        except SeraiError as problem:
            return problem.status, msgspec.json.encode({"error": problem.message})
        return status, msgspec.json.encode(found)

    async def _export(
        self, workspace: str, sandbox: str, options: ExportOptions
    ) -> tuple[HTTPStatus, msgspec.Struct]:
        """Begin an export; wait for its end, unless that is not wanted."""
        begun = time.monotonic()
        handle, plan = await self._find(workspace, sandbox)
        try:
            await self._controller.runtime.files.check_changes(plan.id)
        except RuntimeProblem as problem:
            raise _untold(problem) from problem
        if options.dry_run:
            result = await self._planned(handle, plan, options)
            result.duration = _duration(begun)
            return HTTPStatus.OK, result
        wanted = ExportBegin(stop_timeout_seconds=options.stop_timeout_seconds)
        progress = await _ask(handle, "begin", ExportProgress, msgspec.json.encode(wanted))
        done: asyncio.Future[ExportResult] = asyncio.get_running_loop().create_future()
        self._background.start(_settle(self._run(handle, plan, options), handle, done))
        if options.async_:
            return HTTPStatus.ACCEPTED, progress
        result = await asyncio.shield(done)
        result.duration = _duration(begun)
        return HTTPStatus.OK, result

    async def _find(self, workspace: str, sandbox: str) -> tuple[SandboxHandle, SandboxPlan]:
        controller = self._controller

        def load(conn: Connection) -> SandboxPlan:
            document = need_living(conn, controller.store, workspace, sandbox)
            return controller.plan(document, records.need(conn, document.id))

        plan = await controller.db.read(load)
        live = controller.live.by_name.get((workspace, sandbox))
        if live is None:
            raise Conflict("the sandbox has just ended or gone to sleep; try again")
        return live.sandbox.handle, plan

    async def _planned(
        self, handle: SandboxHandle, plan: SandboxPlan, options: ExportOptions
    ) -> ExportResult:
        """What the archive holds; it can then be read."""
        try:
            changes = await self._controller.runtime.files.changes(plan)
        except RuntimeProblem as problem:
            raise _untold(problem) from problem
        wanted = ExportPlan(
            dry_run=options.dry_run,
            excludes=options.excludes,
            save_processes=options.save_processes,
        )
        body = msgspec.json.encode(wanted) + b"\n" + changes
        return await _ask(handle, "plan", ExportResult, body, seconds=PLAN_SECONDS)

    async def _run(
        self, handle: SandboxHandle, plan: SandboxPlan, options: ExportOptions
    ) -> ExportResult:
        """Everything after the beginning."""
        await _ask(
            handle, "quiesced", dict[str, Any], None, seconds=options.stop_timeout_seconds + 30.0
        )
        result = await self._planned(handle, plan, options)
        if result.size < 0:
            raise ExportFailed("the API in the sandbox has no archive of the size it said")
        authority = plan.network.authority if plan.network else ""
        uploader = Uploader(handle.port_socket, authority)
        await Sending(handle.api_socket, uploader, options, result.size).run()
        result.uploaded = True
        return result


async def _settle(
    work: Coroutine[Any, Any, ExportResult],
    handle: SandboxHandle,
    done: "asyncio.Future[ExportResult]",
) -> None:
    """Carry an export out, let the sandbox know that it goes on, and how it ended."""
    beats = asyncio.create_task(_beat(handle))
    try:
        result = await work
    except BaseException as problem:
        why = _reason(problem)
        await _finish(handle, ExportProgress(state="failed", error=why))
        failed = problem if isinstance(problem, SeraiError) else ExportFailed(why)
        done.set_exception(failed)
        done.exception()
        if not isinstance(problem, SeraiError):
            raise
    else:
        end = ExportProgress(state="succeeded", size=result.size, uploaded=True)
        await _finish(handle, end)
        done.set_result(result)
    finally:
        beats.cancel()


def _reason(problem: BaseException) -> str:
    if isinstance(problem, SeraiError):
        return problem.message
    stopped = isinstance(problem, asyncio.CancelledError)
    return "the platform was stopped" if stopped else "the platform failed; its log has the cause"


async def _finish(handle: SandboxHandle, progress: ExportProgress) -> None:
    with contextlib.suppress(SeraiError):
        await _ask(handle, "finish", dict[str, Any], msgspec.json.encode(progress))


async def _beat(handle: SandboxHandle) -> None:
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        with contextlib.suppress(SeraiError):
            await _ask(handle, "beat", dict[str, Any], b"")


async def _ask(
    handle: SandboxHandle,
    call: str,
    kind: type[T],
    body: bytes | None,
    *,
    seconds: float = 30.0,
) -> T:
    """Call the part of an export that is done inside; None as the body reads."""
    method = "GET" if body is None else "POST"
    try:
        status, answer = await ask(
            handle.api_socket, method, f"/archive/{call}", body or b"", RESULT_MAX, seconds
        )
        if status == HTTPStatus.OK:
            return msgspec.json.decode(answer, type=kind)
    except (OSError, msgspec.DecodeError) as problem:
        raise ExportFailed("the API in the sandbox does not answer") from problem
    raise _refusal(status, answer)


def _untold(problem: RuntimeProblem) -> SeraiError:
    return Conflict(f"what this sandbox changed on top of its image cannot be told: {problem}")


def _refusal(status: int, answer: bytes) -> SeraiError:
    if status == HTTPStatus.NOT_FOUND:
        return Conflict("this sandbox has an older API that cannot export: POST /upgrade first")
    try:
        words = str(msgspec.json.decode(answer, type=dict[str, Any])["error"])[:1000]
    except (msgspec.DecodeError, KeyError):
        words = f"the API in the sandbox answered {status}"
    return Conflict(words) if status == HTTPStatus.CONFLICT else ExportFailed(words)


def _duration(begun: float) -> str:
    return f"{time.monotonic() - begun:.1f}s"


def checked_options(body: bytes) -> ExportOptions:
    """What is asked for.

    Raises:
        BadRequest: naming the field at fault.
    """
    try:
        options = msgspec.json.decode(body, type=ExportOptions)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"invalid request body: {error}") from error
    if any("\0" in each or len(each) > 4096 for each in options.excludes):
        raise BadRequest("excludes: paths have at most 4096 characters, and no zero bytes")
    if options.dry_run:
        return options
    check_headers(options.headers)
    if options.multipart is None:
        if not options.url:
            raise BadRequest("url is required, unless dryRun is true or multipart is given")
        checked_url(options.url, "url")
        return options
    target = options.multipart
    if options.url:
        raise BadRequest("url and multipart exclude each other: give one of them")
    if not 0 < len(target.part_urls) <= PARTS_MAX:
        raise BadRequest(f"multipart.partUrls: 1 to {PARTS_MAX} are needed")
    for url in target.part_urls:
        checked_url(url, "multipart.partUrls")
    checked_url(target.complete_url, "multipart.completeUrl")
    if target.abort_url:
        checked_url(target.abort_url, "multipart.abortUrl")
    return options
