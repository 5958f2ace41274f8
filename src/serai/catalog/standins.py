"""Which models and connections may stand in for one another: those whose clients speak one API."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from serai.catalog.built_in import Provider
from serai.catalog.provider_api import spoken
from serai.catalog.providers import Providers
from serai.kernel.errors import BadRequest
from serai.resources import documents
from serai.resources.kind import Body, Kind
from serai.resources.kinds import CONNECTIONS, MODELS

_NAMES = {
    "anthropic": "Anthropic's",
    "cohere": "Cohere's",
    "google": "Google's",
    "openai": "OpenAI's",
}


class StandIns:
    """Looks at what a model names when it is written."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers

    def check(self, conn: Connection, kind: Kind, workspace: str, body: Body) -> None:
        """Refuse fallbacks that are no models of the workspace, and mixed APIs.

        What is missing or of no known kind among the connections is not looked at: calls tell of
        it, so that models can be written before their connections.

        Raises:
            BadRequest: names the field, the model or connection, and what to do.
        """
        if kind is not MODELS:
            return
        spec = body["spec"]
        own = self._connections(conn, workspace, spec)
        _check_alike(own)
        for name in (spec.get("gateway") or {}).get("fallbacks") or []:
            found = documents.find(conn, workspace, MODELS.name, name)
            if found is None:
                raise BadRequest(
                    f"spec.gateway.fallbacks names the model {name!r}, which does not exist in "
                    "this workspace: create it first, or take it out."
                )
            other = self._connections(conn, workspace, msgspec.json.decode(found.body)["spec"])
            _check_shared(name, own, other)

    def _connections(
        self, conn: Connection, workspace: str, spec: dict[str, Any]
    ) -> list[tuple[str, Provider]]:
        """The connections of a model that are there, and their providers."""
        named = [
            (name, documents.find(conn, workspace, CONNECTIONS.name, name))
            for name in dict.fromkeys(spec.get("integrationConnections") or [])
        ]
        runtime = spec.get("runtime") or {}
        return [
            (name, self._providers.of(msgspec.json.decode(found.body)["spec"], runtime))
            for name, found in named
            if found is not None
        ]


def _check_alike(connections: Sequence[tuple[str, Provider]]) -> None:
    for name, provider in connections[1:]:
        first, before = connections[0]
        if spoken(provider.family) != spoken(before.family):
            raise BadRequest(
                f"spec.integrationConnections names {first!r} and {name!r}, whose clients speak "
                f"different APIs ({_apis(before)}, {_apis(provider)}): a call can only go to "
                "either if they are alike. Make a model of each, and name one in "
                "spec.gateway.fallbacks."
            )


def _check_shared(
    name: str,
    own: Sequence[tuple[str, Provider]],
    other: Sequence[tuple[str, Provider]],
) -> None:
    if not own or not other:
        return
    mine, theirs = own[0][1], other[0][1]
    if not spoken(mine.family) & spoken(theirs.family):
        raise BadRequest(
            f"spec.gateway.fallbacks names the model {name!r}, whose clients speak {_apis(theirs)} "
            f"API, while those of this one speak {_apis(mine)}: calls are not translated, so name "
            "a model of the same API."
        )


def _apis(provider: Provider) -> str:
    return " or ".join(_NAMES[api] for api in sorted(spoken(provider.family)))
