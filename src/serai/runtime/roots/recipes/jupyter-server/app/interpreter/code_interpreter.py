"""The code interpreter of the SDKs, as an extension of Jupyter Server.

``POST /contexts`` makes a context (a kernel), ``POST /execute`` runs code in one and answers a
line of JSON for everything that happens, until its end.
"""

import asyncio
import json
from typing import Any

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado.web import HTTPError

LANGUAGES = {"python": "python3", "python3": "python3", "py": "python3"}
START_SECONDS = 60
FORMATS = {
    "text/plain": "text",
    "text/html": "html",
    "text/markdown": "markdown",
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "application/pdf": "pdf",
    "text/latex": "latex",
    "application/json": "json",
    "application/javascript": "javascript",
}


class Context:
    """A kernel with a client of it; one execution at a time."""

    def __init__(self, kernel_id: str, language: str, cwd: str, client: Any) -> None:
        self.id = kernel_id
        self.language = language
        self.cwd = cwd
        self.client = client
        self.turn = asyncio.Lock()

    @property
    def shown(self) -> dict[str, str]:
        return {"id": self.id, "language": self.language, "cwd": self.cwd}


class Contexts:
    """All contexts; one of them for each language is used when none is named."""

    def __init__(self, manager: Any) -> None:
        self.manager = manager
        self.known: dict[str, Context] = {}
        self._usual: dict[str, str] = {}
        self._making = asyncio.Lock()

    async def make(self, language: str | None, cwd: str | None) -> Context:
        wanted = (language or "python").lower()
        if wanted not in LANGUAGES:
            raise HTTPError(400, f"language {wanted!r} is not available; use python")
        cwd = cwd or "/app"
        kernel_id = await self.manager.start_kernel(kernel_name=LANGUAGES[wanted], path="", cwd=cwd)
        client = self.manager.get_kernel(kernel_id).client()
        client.start_channels()
        await client.wait_for_ready(timeout=START_SECONDS)
        context = Context(kernel_id, "python", cwd, client)
        self.known[kernel_id] = context
        return context

    async def usual(self, language: str | None) -> Context:
        async with self._making:
            name = (language or "python").lower()
            found = self.known.get(self._usual.get(name, ""))
            if found is None:
                found = await self.make(name, None)
                self._usual[name] = found.id
            return found

    def need(self, context_id: str) -> Context:
        found = self.known.get(context_id)
        if found is None:
            raise HTTPError(404, f"context {context_id} not found")
        return found

    async def drop(self, context: Context) -> None:
        del self.known[context.id]
        context.client.stop_channels()
        await self.manager.shutdown_kernel(context.id, now=True)


class Handler(JupyterHandler):
    """What the handlers share: anybody who reaches them may use them; JSON in and out."""

    def initialize(self, contexts: Contexts) -> None:
        self.contexts = contexts

    async def prepare(self) -> None:
        self.current_user = "sandbox"
        self._jupyter_current_user = "sandbox"

    def body(self) -> dict[str, Any]:
        try:
            body = json.loads(self.request.body or b"{}")
        except ValueError as error:
            raise HTTPError(400, f"the body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise HTTPError(400, "the body is not a JSON object")
        return body

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        problem = kwargs.get("exc_info", (None, None, None))[1]
        text = getattr(problem, "log_message", None) or str(problem)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{text}\n")


class ContextsHandler(Handler):
    async def get(self) -> None:
        self.finish(json.dumps([each.shown for each in self.contexts.known.values()]))

    async def post(self) -> None:
        body = self.body()
        context = await self.contexts.make(body.get("language"), body.get("cwd"))
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(context.shown))


class ContextHandler(Handler):
    async def delete(self, context_id: str) -> None:
        await self.contexts.drop(self.contexts.need(context_id))
        self.set_status(204)
        self.finish()


class RestartHandler(Handler):
    async def post(self, context_id: str) -> None:
        context = self.contexts.need(context_id)
        await self.contexts.manager.restart_kernel(context.id, now=True)
        await context.client.wait_for_ready(timeout=START_SECONDS)
        self.set_status(204)
        self.finish()


class ExecuteHandler(Handler):
    async def post(self) -> None:
        body = self.body()
        code = body.get("code")
        if not isinstance(code, str):
            raise HTTPError(400, "code must be a string")
        if body.get("context_id") and body.get("language"):
            raise HTTPError(400, "give context_id or language, not both")
        if body.get("context_id"):
            context = self.contexts.need(body["context_id"])
        else:
            context = await self.contexts.usual(body.get("language"))
        self.set_header("Content-Type", "application/x-ndjson")
        async with context.turn:
            variables = body.get("env_vars") or {}
            before = await self._apply(context, variables) if variables else None
            try:
                await self._run(context, code)
            finally:
                if before is not None:
                    await self._silently(context, _restoring(before, variables))
        self.finish()

    async def _apply(self, context: Context, variables: dict[str, str]) -> dict[str, str | None]:
        names = json.dumps(sorted(variables))
        reply = await context.client.execute_interactive(
            "",
            silent=True,
            store_history=False,
            allow_stdin=False,
            user_expressions={
                "before": "__import__('json').dumps({n: __import__('os').environ.get(n) "
                f"for n in {names}}})"
            },
            output_hook=lambda message: None,
        )
        said = reply["content"]["user_expressions"]["before"]["data"]["text/plain"]
        before: dict[str, str | None] = json.loads(said[1:-1].encode().decode("unicode_escape"))
        await self._silently(
            context, f"import os as _os\n_os.environ.update({variables!r})\ndel _os"
        )
        return before

    async def _silently(self, context: Context, code: str) -> None:
        await context.client.execute_interactive(
            code,
            silent=True,
            store_history=False,
            allow_stdin=False,
            output_hook=lambda message: None,
        )

    async def _run(self, context: Context, code: str) -> None:
        waiting: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

        def hear(message: dict[str, Any]) -> None:
            event = _event(message)
            if event is not None:
                waiting.put_nowait(event)

        async def execute() -> None:
            try:
                await context.client.execute_interactive(
                    code, allow_stdin=False, stop_on_error=True, output_hook=hear
                )
                waiting.put_nowait({"type": "end_of_execution"})
            except Exception as problem:
                waiting.put_nowait({"type": "unexpected_end_of_execution", "text": str(problem)})
            finally:
                waiting.put_nowait(None)

        task = asyncio.create_task(execute())
        try:
            while (event := await waiting.get()) is not None:
                self.write(json.dumps(event) + "\n")
                await self.flush()
        except Exception:
            await self.contexts.manager.get_kernel(context.id).interrupt_kernel()
            raise
        finally:
            await task


def _event(message: dict[str, Any]) -> dict[str, Any] | None:
    kind, content = message["msg_type"], message["content"]
    if kind == "stream":
        moment = message["header"]["date"]
        shown = moment.isoformat() if hasattr(moment, "isoformat") else moment
        return {"type": content["name"], "text": content["text"], "timestamp": shown}
    if kind in ("execute_result", "display_data"):
        return _result(content["data"], is_main=kind == "execute_result")
    if kind == "error":
        trace = "\n".join(content["traceback"])
        return {
            "type": "error",
            "name": content["ename"],
            "value": content["evalue"],
            "traceback": trace,
        }
    if kind == "execute_input":
        return {"type": "number_of_executions", "execution_count": content["execution_count"]}
    return None


def _result(data: dict[str, Any], *, is_main: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": "result", "is_main_result": is_main}
    extra = {}
    for format_, value in data.items():
        if format_ in FORMATS:
            shown[FORMATS[format_]] = value
        else:
            extra[format_] = value
    text = shown.get("text")
    if isinstance(text, str) and len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        shown["text"] = text[1:-1]
    return {**shown, "extra": extra} if extra else shown


def _restoring(before: dict[str, str | None], variables: dict[str, str]) -> str:
    kept = {name: value for name, value in before.items() if value is not None}
    gone = sorted(set(variables) - set(kept))
    return (
        f"import os as _os\n_os.environ.update({kept!r})\n"
        f"for _name in {gone!r}: _os.environ.pop(_name, None)\ndel _os"
    )


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "code_interpreter"}]


def _load_jupyter_server_extension(server: Any) -> None:
    contexts = Contexts(server.kernel_manager)
    base = server.web_app.settings["base_url"]
    given = {"contexts": contexts}
    server.web_app.add_handlers(
        ".*$",
        [
            (url_path_join(base, "execute"), ExecuteHandler, given),
            (url_path_join(base, "contexts"), ContextsHandler, given),
            (url_path_join(base, "contexts/([^/]+)"), ContextHandler, given),
            (url_path_join(base, "contexts/([^/]+)/restart"), RestartHandler, given),
        ],
    )
