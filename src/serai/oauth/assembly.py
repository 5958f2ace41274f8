"""The provider put together, for the composition root."""

from litestar.types import ControllerRouterHandler

from serai.identity.context import IdentityContext
from serai.oauth.client_operations import client_operations
from serai.oauth.context import OAuth
from serai.oauth.grant_operations import grant_operations
from serai.oauth.metadata import metadata_operations
from serai.oauth.operations import protocol_operations


def oauth_operations(oauth: OAuth, identity: IdentityContext) -> list[ControllerRouterHandler]:
    """Every operation of the provider."""
    return [
        *protocol_operations(oauth),
        *metadata_operations(oauth),
        *client_operations(identity),
        *grant_operations(identity),
    ]
