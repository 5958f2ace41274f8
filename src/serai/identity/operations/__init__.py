"""Identity over HTTP: workspaces, people, invitations, service accounts, keys and features."""

from litestar.types import ControllerRouterHandler

from serai.identity.context import IdentityContext
from serai.identity.operations.admins import admin_operations
from serai.identity.operations.features import feature_operations
from serai.identity.operations.invitations import invitation_operations
from serai.identity.operations.people import people_operations
from serai.identity.operations.profile import profile_operations
from serai.identity.operations.service_accounts import service_account_operations
from serai.identity.operations.workspaces import workspace_operations


def identity_operations(context: IdentityContext) -> list[ControllerRouterHandler]:
    """Every operation of identity."""
    return [
        *workspace_operations(context),
        *people_operations(context),
        *invitation_operations(context),
        *service_account_operations(context),
        *profile_operations(context),
        *admin_operations(context),
        *feature_operations(context),
    ]
