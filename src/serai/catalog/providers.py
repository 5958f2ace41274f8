"""Providers that connections can name: where their API is, and how it is called."""

import json
import re
from typing import Any
from urllib.parse import urlsplit

import msgspec

from serai.catalog.built_in import Provider, built_in, chat_endpoints, openai_like
from serai.catalog.files import CatalogueFiles, IntegrationsFile, OwnIntegration
from serai.catalog.provider_api import ProviderApi, place_of
from serai.kernel.errors import BadRequest, NotFound
from serai.wire.catalog import EndpointConfiguration, Integration

_LOCATION = re.compile(r"[a-z0-9-]{1,40}")
_URL = re.compile(r"https?://[!-~]+")
_KEY = re.compile(r"[ -~\u00a0-\u00ff]*")
_PROJECT = re.compile(r"[A-Za-z0-9.:_-]{1,100}")
_ACCOUNT_FIELDS = ("client_email", "private_key")


class Called(msgspec.Struct, frozen=True):
    """A provider as a connection calls it.

    Attributes:
        provider: what is known of it.
        base_url: without a trailing slash or ``/v1``.
        key: the secret to send; empty for none, or where ``api`` has a service account.
        api: how to call it.
    """

    provider: Provider
    base_url: str
    key: str
    api: ProviderApi

    def url(self, rest: str) -> str:
        """The provider's URL for what would follow the model's name in its URL here."""
        parts = urlsplit(self.base_url)
        query = "&".join(f"{name}={value}" for name, value in self.api.query)
        path = place_of(self.api, parts.path, rest, None).path
        return f"{parts.scheme}://{parts.netloc}{path}" + (f"?{query}" if query else "")


class Providers:
    """The built-in providers and those of the operator's file, which win by name."""

    def __init__(self, files: CatalogueFiles) -> None:
        self._files = files
        self._built_in = built_in()

    def find(self, name: str) -> Provider | None:
        """The provider of that name, or ``None``."""
        for own in self._files.read("integrations", IntegrationsFile).integrations:
            if own.name == name:
                return _own(own)
        return self._built_in.get(name)

    def integration(self, name: str) -> Integration:
        """What clients see of a provider.

        Raises:
            NotFound: there is none of that name.
        """
        provider = self.find(name)
        if provider is None:
            raise NotFound(
                f"There is no integration named {name[:80]!r}; built in are "
                f"{', '.join(sorted(self._built_in))}.",
                code="INTEGRATION_NOT_FOUND",
            )
        return provider.integration

    def of(self, spec: dict[str, Any], runtime: dict[str, Any]) -> Provider:
        """The provider of a connection, for a model of this runtime."""
        name = spec["integration"]
        return self.find(name) or self.find(runtime.get("type") or "") or openai_like(name)

    def called(self, spec: dict[str, Any], runtime: dict[str, Any] | None = None) -> Called:
        """How a connection's provider is called, for a model of this runtime.

        An unknown integration is taken as the runtime's type, else as OpenAI-compatible.

        Raises:
            BadRequest: there is no base URL, or another part of the connection is unusable.
        """
        runtime = runtime or {}
        provider = self.of(spec, runtime)
        config, secret = spec.get("config") or {}, spec.get("secret") or {}
        key, account = _credentials(secret)
        location = config.get("location") or config.get("region") or ""
        base = _base_url(provider, config, runtime, location)
        project = config.get("project") or config.get("projectId") or account.get("project_id")
        return Called(
            provider,
            base,
            "" if account else key,
            ProviderApi(
                family=provider.family,
                auth="bearer" if account else provider.auth,
                asks_usage=provider.asks_usage,
                drops_usage=provider.drops_usage,
                headers=_headers(provider, config, runtime),
                query=_query(provider, config),
                project=_checked("project", project or "", _PROJECT),
                location=location or "us-central1",
                service_account=json.dumps(account) if account else "",
                retryable=provider.retryable,
            ),
        )


def configurations(called: Called) -> list[EndpointConfiguration]:
    """Every endpoint of a provider as a connection calls it."""
    endpoints = called.provider.integration.endpoints or {}
    return [
        EndpointConfiguration(path=path, method=endpoint.method or "POST", url=called.url(path))
        for path, endpoint in endpoints.items()
    ]


def _own(own: OwnIntegration) -> Provider:
    fields = {field: getattr(own, field) for field in Integration.__struct_fields__}
    integration = Integration(**fields)
    integration.endpoints = integration.endpoints or chat_endpoints()
    return Provider(integration=integration, base_url=own.base_url)


def _checked(field: str, value: str, allowed: re.Pattern[str]) -> str:
    if value and not allowed.fullmatch(value):
        raise BadRequest(f"spec.config.{field} {value[:60]!r} of the connection is not valid.")
    return value


def _base_url(
    provider: Provider, config: dict[str, str], runtime: dict[str, Any], location: str
) -> str:
    named = runtime.get("endpointName") or ""
    base = config.get("baseUrl") or config.get("endpoint") or (named if "://" in named else "")
    if not base and provider.base_url:
        _checked("location", location, _LOCATION)
        base = provider.base_url.replace("{location}", _host_prefix(location))
    if not base:
        raise BadRequest(
            f"This connection has no spec.config.baseUrl, and the integration "
            f"{provider.integration.name[:60]!r} has none of its own: set it to the provider's "
            f"API, such as {provider.base_hint}."
        )
    if not _URL.fullmatch(base):
        raise BadRequest(
            f"The base URL {base[:120]!r} of this connection is not a plain http(s) URL such as "
            f"{provider.base_hint}."
        )
    base = base.rstrip("/").removesuffix("/v1")
    if provider.family == "azure-ai" and re.fullmatch(
        r"https://[^/]*\.services\.ai\.azure\.com", base
    ):
        base += "/models"
    return base


def _host_prefix(location: str) -> str:
    """Vertex AI's regional hosts; the global one has no prefix."""
    return "" if location == "global" else f"{location or 'us-central1'}-"


def _credentials(secret: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """The plain key, and a Google service account where the secret holds its key file."""
    key = secret.get("apiKey", "").strip()
    text = secret.get("serviceAccount") or secret.get("credentials") or key
    if not text.lstrip().startswith("{"):
        if not _KEY.fullmatch(key):
            raise BadRequest("spec.secret.apiKey of the connection holds a control character.")
        return key, {}
    try:
        account = json.loads(text)
    except (ValueError, RecursionError):
        account = {}
    if not all(isinstance(account.get(field), str) for field in _ACCOUNT_FIELDS):
        raise BadRequest(
            "The connection's secret looks like a Google service account's key file, but is not "
            "JSON with client_email and private_key: paste the whole file."
        )
    return key, account


def _headers(
    provider: Provider, config: dict[str, str], runtime: dict[str, Any]
) -> tuple[tuple[str, str], ...]:
    headers = dict(provider.integration.headers or {})
    organization = runtime.get("organization") or config.get("organization")
    if organization and provider.integration.name == "openai":
        headers["openai-organization"] = organization
    for name, value in headers.items():
        if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not re.fullmatch(r"[\x20-\x7e]*", value):
            raise BadRequest(f"The header {name[:60]!r} of this connection is not valid.")
    return tuple((name.lower(), value) for name, value in headers.items())


def _query(provider: Provider, config: dict[str, str]) -> tuple[tuple[str, str], ...]:
    params = dict(provider.integration.params or {})
    version = config.get("apiVersion")
    if version and provider.family in {"azure-openai", "azure-ai"}:
        params["api-version"] = version
    for name, value in params.items():
        if not re.fullmatch(r"[A-Za-z0-9._~-]+", name) or not re.fullmatch(r"[\w.~-]*", value):
            raise BadRequest(f"The query parameter {name[:60]!r} of this connection is not valid.")
    return tuple(params.items())
