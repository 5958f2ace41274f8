"""Sandboxes over HTTP."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from litestar import Response, delete, get, post, put
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body, flag
from serai.compute.controller import SandboxController
from serai.compute.deadline import HEADER, CreationDeadline, deadline_of
from serai.compute.kind import SANDBOXES, name_unnamed
from serai.compute.uploaded import UploadedSandboxes
from serai.identity.caller import caller_of
from serai.resources.documents import Document
from serai.resources.operations import (
    SHOW,
    ResourceContext,
    actor_of,
    answer,
    read_operations,
    show,
)
from serai.resources.uploading import UPLOAD, answer_opened, wants_upload
from serai.wire.sandboxes import Sandbox


def sandbox_operations(
    context: ResourceContext, controller: SandboxController
) -> list[ControllerRouterHandler]:
    """Every operation on sandboxes."""
    listing, _ = read_operations(context, SANDBOXES)
    return [listing, *_reads(context, controller), *_writes(context, controller)]


def _reads(
    context: ResourceContext, controller: SandboxController
) -> list[ControllerRouterHandler]:
    @get(
        "/v0/sandboxes/{name:str}",
        operation_id="GetSandbox",
        opt={"body": None, "answer": Sandbox, "query": SHOW},
    )
    async def get_sandbox(request: AnyRequest, name: str) -> Response[bytes]:
        workspace = caller_of(request).workspace
        await controller.expire(workspace, name)
        await controller.settled(workspace, name)

        def find(conn: Connection) -> Document:
            return context.store.need(conn, SANDBOXES, workspace, name)

        return await show(context, SANDBOXES, request, find)

    @get(
        "/v0/sandboxes/by-external-id/{external_id:str}",
        operation_id="GetSandboxByExternalId",
        opt={"body": None, "answer": Sandbox},
    )
    async def get_sandbox_by_external_id(request: AnyRequest, external_id: str) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def find(conn: Connection) -> Document:
            return context.store.need_external(conn, SANDBOXES, workspace, external_id)

        return await show(context, SANDBOXES, request, find)

    return [get_sandbox, get_sandbox_by_external_id]


def _writes(
    context: ResourceContext, controller: SandboxController
) -> list[ControllerRouterHandler]:
    uploaded = UploadedSandboxes(controller)

    @post(
        "/v0/sandboxes",
        status_code=200,
        operation_id="CreateSandbox",
        opt={"body": Sandbox, "answer": Sandbox, "query": {"createIfNotExist": bool} | UPLOAD},
    )
    async def create_sandbox(request: AnyRequest) -> Response[bytes]:
        caller = caller_of(request)
        actor, account_id = actor_of(caller), caller.principal.account_id
        shape = await decode_body(request, Sandbox)
        name_unnamed(shape)
        body = controller.store.wanted(SANDBOXES, shape)
        if context.uploads is not None and wants_upload(request):
            document, opened = await uploaded.create(actor, body, context.uploads)
            return answer_opened(document, opened, controller.show(document.body.encode()))
        if_not_exist = flag(request, "createIfNotExist")
        deadline = deadline_of(request.headers.get(HEADER))
        work = controller.create(
            actor, account_id, body, if_not_exist=if_not_exist, deadline=deadline
        )
        document = await (work if deadline is None else _within(deadline, work))
        return answer(document, controller.show)

    @put(
        "/v0/sandboxes/{name:str}",
        operation_id="UpdateSandbox",
        opt={"body": Sandbox, "answer": Sandbox, "query": UPLOAD},
    )
    async def replace_sandbox(request: AnyRequest, name: str) -> Response[bytes]:
        shape, actor = await decode_body(request, Sandbox), actor_of(caller_of(request))
        if context.uploads is not None and wants_upload(request):
            body = controller.store.wanted(SANDBOXES, shape, name)
            document, opened = await uploaded.replace(actor, name, body, context.uploads)
            return answer_opened(document, opened, controller.show(document.body.encode()))
        document = await controller.renewal.replace(actor, name, shape)
        return answer(document, controller.show)

    @delete(
        "/v0/sandboxes/{name:str}",
        status_code=200,
        operation_id="DeleteSandbox",
        opt={"body": None, "answer": Sandbox},
    )
    async def delete_sandbox(request: AnyRequest, name: str) -> Response[bytes]:
        document = await controller.delete(actor_of(caller_of(request)), name)
        return answer(document, controller.show)

    return [create_sandbox, replace_sandbox, delete_sandbox]


async def _within(deadline: CreationDeadline, work: Coroutine[Any, Any, Document]) -> Document:
    """Wait no longer than that; the work goes on for as long as it takes to undo itself."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=deadline.seconds)
    if not done:
        deadline.passed = True
        task.add_done_callback(_outcome_is_known)
        raise deadline.problem()
    return task.result()


def _outcome_is_known(task: "asyncio.Task[Document]") -> None:
    """The client has its answer; whatever the task raises now is no news."""
    if not task.cancelled():
        task.exception()
