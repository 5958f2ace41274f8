"""From a model's document and its connections to its route."""

from collections.abc import Sequence
from typing import Any

import msgspec

from serai.catalog.provider_api import Family, ProviderApi, spoken
from serai.catalog.providers import Called
from serai.gateway.models.rate_limits import rate_limits_of
from serai.gateway.routes import ModelRoute
from serai.resources.documents import Document
from serai.wire.model_gateway import ModelGateway


class Link(msgspec.Struct, frozen=True):
    """A connection that a model names.

    Attributes:
        name: of the connection.
        provider: integration type; of a connection that does not exist empty.
        called: how it is called, if it can be.
        family: whose API its clients speak.
        problem: why it cannot, for people.
    """

    name: str
    provider: str = ""
    called: Called | None = None
    family: Family = "openai"
    problem: str = ""


def model_route(account_id: str, document: Document, body: dict[str, Any]) -> ModelRoute:
    """The route of a model, as far as its own document tells."""
    spec, labels = body["spec"], body["metadata"].get("labels") or {}
    runtime = spec.get("runtime") or {}
    gateway, unusable = ModelGateway(), ""
    try:
        gateway = msgspec.convert(spec.get("gateway") or {}, ModelGateway)
    except msgspec.ValidationError as problem:  # what another release has stored
        unusable = f"its spec.gateway cannot be read: {problem}"
    return ModelRoute(
        account_id=account_id,
        workspace=document.workspace,
        name=document.name,
        resource_id=document.id,
        provider=runtime.get("type") or "",
        base_url="",
        api_key="",
        model=runtime.get("model") or None,
        disabled=not spec["enabled"],
        labels=msgspec.json.encode(labels).decode(),
        gateway=gateway,
        rate_limits=rate_limits_of(gateway, document.workspace, document.id, labels),
        unusable=unusable,
    )


def connected(route: ModelRoute, links: Sequence[Link]) -> ModelRoute:
    """The route with the places that its connections lead to.

    Connections that cannot be used are left out, and so are those whose clients would speak another
    API than those of the first; a model is unusable when none is left.
    """
    if route.unusable:
        return route
    if not links:
        problem = "its spec.integrationConnections names no connection"
        return msgspec.structs.replace(route, unusable=problem, unlinked=True)
    usable = [link for link in links if link.called is not None]
    if not usable:
        first = links[0]
        provider = first.provider or route.provider
        return msgspec.structs.replace(
            route,
            provider=provider,
            unusable=first.problem,
            unlinked=True,
            api=ProviderApi(family=first.family),
        )
    places = [_place(route, link, alone=len(links) == 1) for link in usable]
    alike = [each for each in places if _speaks_like(each, places[0])]
    if len(alike) == 1:
        return alike[0]
    return msgspec.structs.replace(alike[0], place="", places=tuple(alike))


def _place(route: ModelRoute, link: Link, *, alone: bool) -> ModelRoute:
    called, balance = link.called, route.gateway.balance
    assert called is not None
    weights = (balance and balance.weights) or {}
    return msgspec.structs.replace(
        route,
        provider=link.provider,
        base_url=called.base_url,
        api_key=called.key,
        api=called.api,
        place="" if alone else f"{route.resource_id}/{link.name}",
        weight=weights.get(link.name, 1),
    )


def _speaks_like(place: ModelRoute, first: ModelRoute) -> bool:
    return spoken(place.api.family) == spoken(first.api.family)
