"""The models of a connection, asked of the provider's own API."""

import asyncio
import json
import urllib.error
import urllib.request
from typing import IO, Any

from serai.catalog.providers import Called
from serai.kernel.errors import BadGateway, BadRequest, NotFound

TIMEOUT_SECONDS = 10.0
ANSWER_MAX_BYTES = 16 * 1024 * 1024
EXCERPT = 300
Model = dict[str, Any]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


async def list_models(called: Called) -> list[Model]:
    """What the provider lists, each with an ``id``.

    Raises:
        BadRequest: the provider refuses the connection's key, or knows no list of models.
        BadGateway: it cannot be reached, or answers something else than a list of models.
    """
    url = called.url(called.provider.models_path)
    raw = await asyncio.to_thread(_fetch, url, _headers(called))
    try:
        return _models(json.loads(raw))
    except (ValueError, RecursionError):
        raise BadGateway(
            f"{url} answered something else than a list of models; check "
            "spec.config.baseUrl of the connection.",
            code="PROVIDER_ANSWER_UNREADABLE",
        ) from None


async def find_model(called: Called, wanted: str) -> Model:
    """One model of the list.

    Raises:
        NotFound: the provider lists no model of that id.
    """
    for model in await list_models(called):
        if model["id"] == wanted:
            return model
    raise NotFound(f"The provider lists no model {wanted[:120]!r}.", code="MODEL_NOT_FOUND")


def _headers(called: Called) -> dict[str, str]:
    headers = {"accept": "application/json"} | dict(called.api.headers)
    auth = called.api.auth
    if called.key:
        value = f"Bearer {called.key}" if auth == "bearer" else called.key
        headers["authorization" if auth == "bearer" else auth] = value
    return headers


def _fetch(url: str, headers: dict[str, str]) -> bytes:
    opener = urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler({}))
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - checked on creation
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            return _bounded(answer, url)
    except urllib.error.HTTPError as problem:
        raise _refusal(url, problem) from None
    except (OSError, ValueError) as problem:
        reason = str(getattr(problem, "reason", problem)) or type(problem).__name__
        raise BadGateway(
            f"{url} cannot be reached: {reason[:EXCERPT]}. Check spec.config.baseUrl of the "
            "connection, and whether the provider is up.",
            code="PROVIDER_UNREACHABLE",
        ) from None


def _bounded(answer: IO[bytes], url: str) -> bytes:
    raw = answer.read(ANSWER_MAX_BYTES + 1)
    if len(raw) > ANSWER_MAX_BYTES:
        raise BadGateway(f"{url} answered more than {ANSWER_MAX_BYTES} bytes.")
    return raw


def _refusal(url: str, problem: urllib.error.HTTPError) -> BadRequest | BadGateway:
    with problem:
        excerpt = problem.read(4 * EXCERPT).decode("utf-8", "replace")
    said = f"{url} answered {problem.code}: {' '.join(excerpt.split())[:EXCERPT]}"
    if problem.code in {401, 403}:
        return BadRequest(
            f"{said} - check spec.secret.apiKey of the connection.", code="PROVIDER_REFUSED_KEY"
        )
    if problem.code in {404, 405}:
        return BadRequest(
            f"{said} - the provider has no list of models there; check spec.config.baseUrl.",
            code="PROVIDER_HAS_NO_MODELS",
        )
    return BadGateway(said, code="PROVIDER_FAILED")


def _models(answer: Any) -> list[Model]:
    """``{data: […]}``, ``{models: […]}`` or a bare list, whose items have an id or a name."""
    if isinstance(answer, dict):
        answer = answer.get("data", answer.get("models"))
    if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
        raise ValueError("not a list of models")
    return [{"id": _id(item)} | {k: v for k, v in item.items() if k != "id"} for item in answer]


def _id(item: Model) -> str:
    value = item.get("id") or item.get("name")
    if not isinstance(value, str):
        raise ValueError("a model without an id")
    return value.removeprefix("models/")
