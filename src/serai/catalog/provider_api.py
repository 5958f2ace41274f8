"""How a provider's API is called: its credentials, its paths, and where a model's name stands.

Pure functions of a path below a model's URL; the catalogue shows their results, and the gateway
sends requests to them.
"""

import re
from typing import Literal
from urllib.parse import quote

import msgspec

Family = Literal["openai", "anthropic", "google", "vertex", "azure-openai", "azure-ai", "cohere"]
Auth = Literal["bearer", "x-api-key", "x-goog-api-key", "api-key"]

_OPENAI = frozenset(
    {
        "assistants",
        "audio",
        "batches",
        "chat",
        "completions",
        "conversations",
        "embeddings",
        "evals",
        "files",
        "fine_tuning",
        "images",
        "messages",
        "models",
        "moderations",
        "ocr",
        "realtime",
        "rerank",
        "responses",
        "threads",
        "uploads",
        "vector_stores",
        "videos",
    }
)
"""First path segments that stand below ``/v1`` in APIs of the OpenAI shape."""

_COMPATIBLE = re.compile(r"(?:/v1)?(/(?:chat/completions|embeddings|images/generations))")
"""Paths that only a client of the OpenAI shape uses."""

_ASKS_MODEL = re.compile(
    r"/(?:chat|completions|embed|embeddings|responses|messages|generations|edits|variations|speech|"
    r"transcriptions|translations|rerank|moderations|ocr)$|/models/[^/]+:[A-Za-z]+$"
)
_NATIVE = {"azure-openai": "openai", "azure-ai": "openai", "vertex": "google"}
"""Families whose clients are those of another one."""

_GOOGLE_MODEL = re.compile(r"/models/([^/:]+)(:[A-Za-z]+|)$")
_GOOGLE_PATH = re.compile(r"/v1[a-z0-9]*(/models/[^/]+)$")
_DEPLOYMENT = re.compile(r"^(/openai/deployments/)([^/]+)(/.*)$")
_BY_DEPLOYMENT = re.compile(r"/(?:chat/completions|completions|embeddings|images/|audio/)")
_NAMES_MODEL = re.compile(
    r"/(?:chat|completions|embed|embeddings|responses|messages|generations|speech|rerank|"
    r"moderations|ocr)$"
)


class ProviderApi(msgspec.Struct, frozen=True, kw_only=True):
    """How one provider's API is called through one connection.

    Attributes:
        family: whose paths and shapes it has.
        auth: the header that carries the key.
        asks_usage: its streams count tokens only when ``stream_options`` asks for it.
        drops_usage: it refuses ``stream_options.include_usage``.
        headers: fields that each request gets unless the client sends its own.
        query: parameters that each request gets unless the client sends its own.
        project: project of Vertex AI; empty where requests name none.
        location: its region.
        service_account: a Google service account's key file, as JSON; empty where a plain key
            is used.
        retryable: statuses below 500 that are worth another attempt, as its SDKs have it.
    """

    family: Family = "openai"
    auth: Auth = "bearer"
    asks_usage: bool = True
    drops_usage: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    project: str = ""
    location: str = ""
    service_account: str = ""
    retryable: tuple[int, ...] = (408, 429)

    def worth_another(self, status: int) -> bool:
        """Whether a call that was answered so may succeed when it is sent again."""
        if status >= 500:
            return status not in (501, 505)
        return status in self.retryable


class Place(msgspec.Struct, frozen=True):
    """Where a request goes, and what of its body names the model.

    Attributes:
        path: path at the provider's host, without a query.
        auth: the header that carries the key.
        model: what the body's ``model`` becomes; None leaves the body alone.
        adds_model: put ``model`` into a body that has none.
        completions: the operation knows ``stream_options``.
        drops_usage: the operation refuses ``stream_options.include_usage``.
    """

    path: str
    auth: Auth
    model: str | None = None
    adds_model: bool = False
    completions: bool = False
    drops_usage: bool = False


def place_of(api: ProviderApi, base_path: str, rest: str, model: str | None) -> Place:
    """The provider's place for what follows a model's name in its URL.

    Args:
        api: how the provider is called.
        base_path: path of its base URL without a trailing ``/v1`` or slash.
        rest: with a leading slash, without a query.
        model: the provider's name of the model; None keeps the client's.
    """
    make = {
        "google": _google,
        "vertex": _vertex,
        "azure-openai": _azure_openai,
        "azure-ai": _azure_ai,
        "cohere": _cohere,
    }.get(api.family, _openai)
    return make(api, base_path, rest, model)


def asks_model(rest: str) -> bool:
    """Whether a POST there asks a model, so that any place that has the model can answer it.

    Others (files, batches, stored answers) are about what is kept at one provider.
    """
    return _ASKS_MODEL.search(rest) is not None


def spoken(family: Family) -> frozenset[str]:
    """The APIs that clients may speak with a provider of a family."""
    native = _NATIVE.get(family, family)
    return frozenset({native, "openai"} if native in {"google", "cohere"} else {native})


def understands(family: Family, rest: str, other: Family) -> bool:
    """Whether a call at this path, meant for ``other``, can be sent to ``family`` as it is."""
    if family == other:
        return True
    if _COMPATIBLE.fullmatch(rest) and "openai" in spoken(other):
        return "openai" in spoken(family)
    native = _NATIVE.get(family, family)
    if native != _NATIVE.get(other, other):
        return False
    if native == "google":
        return _GOOGLE_PATH.fullmatch(rest) is not None
    return rest.removeprefix("/v1")[1:].partition("/")[0] in _OPENAI


def _below(base_path: str, path: str) -> str:
    """The path below the base, unless the client put the base in itself."""
    doubled = base_path and (path == base_path or path.startswith(base_path + "/"))
    return path if doubled else base_path + path


def _versioned(rest: str) -> str:
    """``/v1`` before the paths that clients of the OpenAI shape send without it."""
    return "/v1" + rest if rest[1:].partition("/")[0] in _OPENAI else rest


def _in_body(api: ProviderApi, path: str, model: str | None) -> Place:
    completes = path.endswith("/completions")
    names = _NAMES_MODEL.search(path) is not None
    asks, drops = completes and api.asks_usage, completes and api.drops_usage
    return Place(path, api.auth, model, names, asks, drops)


def _openai(api: ProviderApi, base_path: str, rest: str, model: str | None) -> Place:
    return _in_body(api, _below(base_path, _versioned(rest)), model)


def _cohere(api: ProviderApi, base_path: str, rest: str, model: str | None) -> Place:
    compatible = _COMPATIBLE.fullmatch(rest)
    if compatible:
        rest = "/compatibility/v1" + compatible[1]
    return _openai(api, base_path, rest, model)


def _google_model(path: str, model: str | None) -> str:
    """The path with the model's own name; of a doubled ``/models/a/models/b:x`` the last."""
    found = _GOOGLE_MODEL.search(path)
    if found is None:
        return path
    start = found.start()
    before = path[:start]
    doubled = re.search(r"/models/[^/:]+$", before)
    if doubled:
        before = before[: doubled.start()]
    name = quote(model.removeprefix("models/"), safe="") if model else found[1]
    return f"{before}/models/{name}{found[2]}"


def _google(api: ProviderApi, base_path: str, rest: str, model: str | None) -> Place:
    compatible = _COMPATIBLE.fullmatch(rest)
    if compatible:
        rest = "/v1beta/openai" + compatible[1]
    path = _below(base_path, rest)
    if "/openai/" in rest:
        # Gemini's OpenAI-compatible API takes its key as a bearer token
        return _in_body(msgspec.structs.replace(api, auth="bearer"), path, model)
    return Place(_google_model(path, model), api.auth)


def _vertex(api: ProviderApi, base_path: str, rest: str, model: str | None) -> Place:
    where = f"/v1/projects/{api.project}/locations/{api.location}" if api.project else "/v1"
    compatible = _COMPATIBLE.fullmatch(rest)
    if compatible:
        name = f"google/{model}" if model and "/" not in model else model
        return _in_body(api, f"{base_path}{where}/endpoints/openapi{compatible[1]}", name)
    short = _GOOGLE_PATH.fullmatch(_google_model(rest, model))
    if short:
        return Place(f"{base_path}{where}/publishers/google{short[1]}", api.auth)
    return Place(_below(base_path, _google_model(rest, model)), api.auth)


def _azure_openai(api: ProviderApi, base_path: str, rest: str, model: str | None) -> Place:
    rest = _versioned(rest)
    if rest.startswith("/v1/"):
        rest = _azure_path(api, rest[3:], model)
    deployed = _DEPLOYMENT.match(rest)
    if deployed and model:
        rest = f"{deployed[1]}{quote(model, safe='')}{deployed[3]}"
    return _in_body(api, _below(base_path, rest), model)


def _azure_path(api: ProviderApi, operation: str, model: str | None) -> str:
    """Azure has two forms: by deployment and dated version, or ``/openai/v1`` like OpenAI's."""
    if not any(name == "api-version" for name, _ in api.query):
        return f"/openai/v1{operation}"
    if model and _BY_DEPLOYMENT.match(operation):
        return f"/openai/deployments/{quote(model, safe='')}{operation}"
    return f"/openai{operation}"


def _azure_ai(api: ProviderApi, base_path: str, rest: str, model: str | None) -> Place:
    return _in_body(api, _below(base_path, rest.removeprefix("/v1")), model)
