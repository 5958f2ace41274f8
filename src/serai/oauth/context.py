"""What every part of the provider needs."""

import msgspec

from serai.identity.access_tokens import AccessTokens
from serai.identity.authenticator import CredentialAuthenticator
from serai.store.database import Database
from serai.store.secrets import Vault


class OAuth(msgspec.Struct, frozen=True):
    """The database, what signs tokens and what remembers verified ones.

    ``origin`` begins the URLs of pages; with ``reusable_device_tokens`` a refresh that shows its
    device code does not rotate.
    """

    db: Database
    vault: Vault
    tokens: AccessTokens
    authenticator: CredentialAuthenticator
    origin: str
    reusable_device_tokens: bool = False
