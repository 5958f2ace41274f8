"""The OpenAPI document of this API, made once from its shapes and a table of its operations."""

import inspect
from typing import Any, NamedTuple

import msgspec

from serai import __version__
from serai.wire import sandbox_api as api
from serai.wire import sandbox_files as files

Json = dict[str, Any]
REFERENCE = "#/components/schemas/"
_ERRORS = {
    400: "The request breaks a rule.",
    404: "It does not exist.",
    409: "It is not in a state for that.",
    413: "The body is too large.",
    422: "It failed.",
    500: "It is not possible here, or failed.",
    503: "It is not possible now.",
}
_EXCLUDED = "names of directories not to look into, separated by commas"
_PATTERNS = "shell patterns that names match, separated by commas"
_PATHS = (
    "A path that begins with `/` (written `%2F`, or after a second slash) is absolute; others are"
    " below the working directory."
)
_ABOUT = (
    "Commands, files, ports and a terminal of one sandbox. Errors are JSON objects with `error`."
)


class Operation(NamedTuple):
    """One operation: of which method and path, and what goes in and out.

    ``answer`` is a type, several of them, or a media type for what is no JSON; ``query`` are
    parameters with what they mean, those that must be there with a ``*``.
    """

    method: str
    path: str
    summary: str
    answer: Any
    body: Any = None
    query: dict[str, str] = {}
    errors: tuple[int, ...] = ()

    @property
    def tag(self) -> str:
        """The first word of the path, for grouping."""
        return self.path.split("/")[1].split("-")[0] or "system"


_FIND = {
    "maxResults": "how many at most",
    "excludeDirs": _EXCLUDED,
    "excludeHidden": "true or false",
}
_FILE_BODY = files.FileRequest
OPERATIONS = (
    Operation("GET", "/health", "Whether it runs, since when, and which version", api.Health),
    Operation(
        "POST", "/upgrade", "Bring this API to the newest version there is here",
        api.UpgradeAnswer, api.UpgradeRequest, errors=(400,),
    ),
    Operation(
        "POST", "/environment/reload", "Read the variables of later processes anew",
        api.ReloadAnswer, errors=(404, 503),
    ),
    Operation("GET", "/process", "All processes, ended ones too", list[api.ProcessAnswer]),
    Operation(
        "POST", "/process",
        "Run a command; with `Accept: text/event-stream` its output comes line by line as JSON",
        api.ProcessAnswer, api.ProcessRequest, errors=(400, 422),
    ),
    Operation(
        "GET", "/process/{identifier}", "One process, by pid or name", api.ProcessAnswer,
        errors=(404,),
    ),
    Operation(
        "GET", "/process/{identifier}/wait", "A process once it has ended", api.ProcessAnswer,
        query={"timeout": "seconds to wait at most"}, errors=(400, 404),
    ),
    Operation(
        "GET", "/process/{identifier}/logs", "What a process wrote", api.ProcessLogs,
        errors=(404,),
    ),
    Operation(
        "GET", "/process/{identifier}/logs/stream", "What a process writes, as it comes",
        "text/plain",
    ),
    Operation(
        "POST", "/process/{identifier}/stdin", "Give a process input", api.PathAnswer,
        "text/plain", errors=(404, 409, 413, 503),
    ),
    Operation(
        "DELETE", "/process/{identifier}/stdin", "End a process's input", api.PathAnswer,
        errors=(404, 409),
    ),
    Operation(
        "DELETE", "/process/{identifier}", "Ask a process to end", api.MessageAnswer,
        errors=(404,),
    ),
    Operation(
        "DELETE", "/process/{identifier}/kill", "End a process at once", api.MessageAnswer,
        errors=(404,),
    ),
    Operation(
        "GET", "/filesystem/{path}",
        "A directory, or a file: as JSON, or as it is with `Accept: application/octet-stream`",
        (files.FileWithContent, files.Directory),
        query={"download": "true for the file as it is"}, errors=(404, 422, 500),
    ),
    Operation(
        "PUT", "/filesystem/{path}",
        "Write a file or make a directory; also as `multipart/form-data` with a `file`",
        api.PathAnswer, _FILE_BODY, errors=(400, 422),
    ),
    Operation(
        "DELETE", "/filesystem/{path}", "Delete a file or directory", api.PathAnswer,
        query={"recursive": "true to delete what is in it too"}, errors=(404, 422),
    ),
    Operation(
        "GET", "/filesystem/tree/{path}", "A directory, absolute", (files.Directory, files.Tree),
        query={
            "recursive": "true for everything below it", "content": "true for files' content too",
            "patterns": _PATTERNS, "maxFiles": "how many at most", "maxBytes": "how much at most",
            "excludeDirs": _EXCLUDED, "excludeHidden": "true or false",
        },
        errors=(400, 422),
    ),
    Operation(
        "PUT", "/filesystem/tree/{path}", "Write many files at once", files.Directory,
        files.TreeRequest, errors=(400, 422),
    ),
    Operation(
        "DELETE", "/filesystem/tree/{path}", "Delete a directory", api.PathAnswer,
        query={"recursive": "true to delete what is in it too"}, errors=(400, 422),
    ),
    Operation(
        "POST", "/filesystem-copy", "Copy a file or directory", files.CopyAnswer,
        files.CopyRequest, errors=(400, 404, 409, 422),
    ),
    Operation(
        "GET", "/filesystem-find/{path}", "Files by name", files.FindAnswer,
        query={"type": "file or directory", "patterns": _PATTERNS, **_FIND}, errors=(400, 500),
    ),
    Operation(
        "GET", "/filesystem-search/{path}", "Files whose names resemble a word",
        files.FuzzyAnswer, query={"query": "the word", "patterns": _PATTERNS, **_FIND},
        errors=(400, 500),
    ),
    Operation(
        "GET", "/filesystem-content-search/{path}", "Lines that hold a text",
        files.ContentAnswer,
        query={
            "query": "* the text", "caseSensitive": "true or false", "filePattern":
            "a shell pattern that names match", "contextLines": "lines around each",
            "maxResults": "how many at most", "excludeDirs": _EXCLUDED,
        },
        errors=(400, 422, 500),
    ),
    Operation(
        "GET", "/watch/filesystem/{path}",
        "What changes in a directory, and below it when the path ends in `/**`",
        "text/plain", query={"ignore": "parts of paths to be silent about, separated by commas"},
        errors=(400,),
    ),
    Operation("GET", "/filesystem-multipart", "Large uploads under way", files.UploadList),
    Operation(
        "POST", "/filesystem-multipart/initiate/{path}", "Begin a large upload",
        files.UploadStarted, files.UploadRequest, errors=(400, 422),
    ),
    Operation(
        "PUT", "/filesystem-multipart/{uploadId}/part",
        "Send a part, as `file` in `multipart/form-data`", files.PartAnswer,
        "multipart/form-data", {"partNumber": "* from 1 to 10000"}, (400, 404),
    ),
    Operation(
        "GET", "/filesystem-multipart/{uploadId}/parts", "The parts that are there",
        files.PartList, errors=(404,),
    ),
    Operation(
        "POST", "/filesystem-multipart/{uploadId}/complete", "Make a file of the parts",
        api.PathAnswer, files.CompleteRequest, errors=(400, 404),
    ),
    Operation(
        "DELETE", "/filesystem-multipart/{uploadId}/abort", "Forget a large upload",
        api.PathAnswer, errors=(404,),
    ),
    Operation(
        "GET", "/network/process/{pid}/ports", "Ports that a process listens on", api.PortList,
        errors=(400,),
    ),
    Operation(
        "POST", "/network/process/{pid}/monitor", "Tell a server inside of new ports",
        api.PathAnswer, api.MonitorRequest, errors=(400,),
    ),
    Operation(
        "DELETE", "/network/process/{pid}/monitor", "Tell it no more", api.PathAnswer,
        errors=(400,),
    ),
    Operation(
        "PUT", "/network/tunnel/config",
        "Connect with a WireGuard peer, in place of another one", api.PathAnswer,
        api.TunnelRequest, errors=(400, 422, 500),
    ),
    Operation(
        "DELETE", "/network/tunnel", "Disconnect from it", api.PathAnswer, errors=(400, 500)
    ),
    Operation("GET", "/drives/mount", "Mounted drives", api.DriveList),
    Operation(
        "POST", "/drives/mount", "Mount a drive", api.DriveRequest, api.DriveRequest,
        errors=(400, 409, 500),
    ),
    Operation(
        "DELETE", "/drives/mount/{mountPath}", "Take a drive away", api.PathAnswer,
        errors=(400, 500),
    ),
    Operation(
        "PUT", "/codegen/fastapply/{path}", "Apply an edit that leaves out what stays",
        files.EditAnswer, files.EditRequest, errors=(400, 422),
    ),
    Operation(
        "GET", "/codegen/reranking/{path}", "Files by how well they fit a question",
        files.RankAnswer,
        query={
            "query": "* the question", "scoreThreshold": "from 0 to 1",
            "tokenLimit": "of all files together", "filePattern": "a regular expression",
        },
        errors=(400, 422),
    ),
    Operation("GET", "/archive/status", "Whether it is frozen for an archive", api.ArchiveStatus),
    Operation("POST", "/archive/resume", "Lift the freeze", api.ArchiveStatus, errors=(409,)),
    Operation(
        "POST", "/archive/export", "Upload what changed on top of the image to a presigned URL",
        api.ExportResult, api.ExportOptions, errors=(400, 409, 500),
    ),
    Operation("GET", "/terminal", "A terminal as a page", "text/html"),
    Operation(
        "GET", "/terminal/ws",
        "A terminal, by WebSocket: JSON frames `input` and `resize` in, `output` and `error` out",
        "application/json",
        query={
            "sessionId": "which one", "cols": "width", "rows": "height", "shell": "program",
            "workingDir": "where it starts",
        },
    ),
    Operation("POST", "/mcp", "The same as tools for models: MCP, streamable HTTP",
              "application/json", "application/json", errors=(400,)),
)  # fmt: skip


def document() -> bytes:
    """The OpenAPI 3.1 document as JSON."""
    kinds: list[Any] = [api.ErrorAnswer]
    for one in OPERATIONS:
        kinds += [kind for kind in (*_types(one.body), *_types(one.answer)) if kind not in kinds]
    found, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE + "{name}")
    schemas = list(zip(kinds, found, strict=True))
    paths: Json = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method.lower()] = _shown(one, schemas)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Sandbox API",
                "version": __version__,
                "description": f"{_ABOUT} {_PATHS}",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "../"}],
            "tags": [{"name": tag} for tag in dict.fromkeys(one.tag for one in OPERATIONS)],
            "paths": paths,
            "components": {"schemas": {name: _tidy(part) for name, part in components.items()}},
        }
    )


def _types(kind: Any) -> tuple[Any, ...]:
    if kind is None or isinstance(kind, str):
        return ()
    return kind if isinstance(kind, tuple) else (kind,)


def _tidy(schema: Json) -> Json:
    if isinstance(schema.get("description"), str):
        schema["description"] = inspect.cleandoc(schema["description"])
    return schema


def _shown(one: Operation, schemas: list[tuple[Any, Json]]) -> Json:
    shown: Json = {
        "operationId": _id(one),
        "summary": one.summary,
        "tags": [one.tag],
        "parameters": [*_in_path(one), *_in_query(one)],
        "responses": {"200": {"description": "Done.", "content": _content(one.answer, schemas)}},
    }
    for status in one.errors:
        content = _content(api.ErrorAnswer, schemas)
        shown["responses"][str(status)] = {"description": _ERRORS[status], "content": content}
    if one.body is not None:
        content = _content(one.body, schemas)
        if one.body is _FILE_BODY:
            content["multipart/form-data"] = _FORM
        shown["requestBody"] = {"content": content}
    return shown


_FORM: Json = {
    "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
}


def _id(one: Operation) -> str:
    words = one.path.replace("{", "").replace("}", "").replace("-", "/").split("/")
    return one.method.lower() + "".join(word[:1].upper() + word[1:] for word in words)


def _content(kind: Any, schemas: list[tuple[Any, Json]]) -> Json:
    if kind == "multipart/form-data":
        return {kind: _FORM}
    if isinstance(kind, str):
        return {kind: {"schema": {} if kind.endswith("json") else {"type": "string"}}}
    found = [next(s for known, s in schemas if known == one) for one in _types(kind)]
    return {"application/json": {"schema": found[0] if len(found) == 1 else {"anyOf": found}}}


def _in_path(one: Operation) -> list[Json]:
    names = [part[1:-1] for part in one.path.split("/") if part.startswith("{")]
    text = {"type": "string"}
    return [{"name": name, "in": "path", "required": True, "schema": text} for name in names]


def _in_query(one: Operation) -> list[Json]:
    return [
        {
            "name": name,
            "in": "query",
            "required": about.startswith("*"),
            "description": about.removeprefix("* "),
            "schema": {"type": "string"},
        }
        for name, about in one.query.items()
    ]
