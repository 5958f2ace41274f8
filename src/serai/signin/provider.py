"""An upstream OpenID provider: discovery, the code flow's requests, and checking ID tokens."""

import base64
import hashlib
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from serai.identity.upstream_identities import Identity
from serai.kernel.errors import BadGateway

if TYPE_CHECKING:
    from aiohttp import ClientSession, StreamReader

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
"""Signatures with a public key only: with these no published key can be taken for a shared one."""
SCOPE = "openid email profile"
SECONDS = 10.0
BODY_MAX = 1 << 20
METADATA_SECONDS = 3600.0
KEYS_SECONDS = 60.0
LEEWAY = 60
NAME_MAX = 63
log = structlog.get_logger(__name__)


class ProviderProblem(BadGateway):
    """The provider does not answer as it should (502)."""

    code = "IDENTITY_PROVIDER_UNAVAILABLE"


class Metadata(msgspec.Struct, frozen=True):
    """What we need of a provider's discovery document."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: list[str] = msgspec.field(
        default_factory=lambda: ["client_secret_basic"]
    )


class Provider:
    """One provider, as configured.

    Args:
        issuer: its identifier, a URL.
        client_id: what it calls us.
        client_secret: what we show it; ``None`` for a public client (PKCE protects the code).
        redirect_uri: where it sends people back to.
    """

    def __init__(
        self, issuer: str, client_id: str, client_secret: str | None, redirect_uri: str
    ) -> None:
        self.issuer = issuer
        self.client_id = client_id
        self._secret = client_secret
        self._redirect_uri = redirect_uri
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, KeySet] | None = None

    async def authorization_url(self, state: str, nonce: str, verifier: str) -> str:
        """Where to send a person.

        Raises:
            ProviderProblem: the provider cannot be reached, or is not what it says.
        """
        metadata = await self._discover()
        digest = hashlib.sha256(verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": SCOPE,
            "state": state,
            "nonce": nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        mark = "&" if "?" in metadata.authorization_endpoint else "?"
        return metadata.authorization_endpoint + mark + urlencode(query)

    async def redeem(self, code: str, verifier: str, nonce: str) -> Identity:
        """Who came back with a code.

        Raises:
            ProviderProblem: the provider refuses the code, or its ID token is not good.
        """
        metadata = await self._discover()
        answer = await self._token(metadata, code, verifier)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise ProviderProblem("The identity provider sent no ID token.")
        claims = await self._check(metadata, token, nonce)
        if "email" not in claims and metadata.userinfo_endpoint:
            claims = {**await self._userinfo(metadata, answer, claims["sub"]), **claims}
        return self._identity(claims)

    def _identity(self, claims: dict[str, Any]) -> Identity:
        verified = claims.get("email_verified") in (True, "true")
        email = claims.get("email")
        return Identity(
            issuer=self.issuer,
            subject=claims["sub"],
            email=email if verified and isinstance(email, str) else None,
            given_name=_name(claims.get("given_name")),
            family_name=_name(claims.get("family_name")),
        )

    async def _discover(self) -> Metadata:
        if self._metadata and self._metadata[0] > time.monotonic():
            return self._metadata[1]
        url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
        metadata: Metadata = _converted(await self._request("GET", url), Metadata)
        if metadata.issuer != self.issuer:
            raise ProviderProblem(
                "The identity provider calls itself by another issuer than oidc_issuer says."
            )
        for endpoint in (metadata.token_endpoint, metadata.jwks_uri):
            if urlsplit(self.issuer).scheme == "https" and urlsplit(endpoint).scheme != "https":
                raise ProviderProblem("The identity provider names endpoints without https.")
        self._metadata = time.monotonic() + METADATA_SECONDS, metadata
        return metadata

    async def _token(self, metadata: Metadata, code: str, verifier: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        basic = None
        if self._secret is None:
            form["client_id"] = self.client_id
        elif "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            basic = quote(self.client_id, safe=""), quote(self._secret, safe="")
        else:
            form |= {"client_id": self.client_id, "client_secret": self._secret}
        return await self._request("POST", metadata.token_endpoint, form=form, basic=basic)

    async def _userinfo(
        self, metadata: Metadata, answer: dict[str, Any], subject: str
    ) -> dict[str, Any]:
        """Claims that are not in the ID token; they count only for the same subject."""
        endpoint = str(metadata.userinfo_endpoint)
        found = await self._request("GET", endpoint, bearer=str(answer.get("access_token")))
        return found if found.get("sub") == subject else {}

    async def _check(self, metadata: Metadata, token: str, nonce: str) -> dict[str, Any]:
        """The claims of an ID token that is for us, from there, in time, and for this sign-in."""
        keys = await self._key_set(metadata)
        try:
            claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError, TypeError):
            keys = await self._key_set(metadata, anew=True)
            try:
                claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
            except (JoseError, ValueError, TypeError) as problem:
                raise self._untrusted("signature") from problem
        for fault, bad in self._faults(claims, nonce).items():
            if bad:
                raise self._untrusted(fault)
        return dict(claims)

    def _faults(self, claims: dict[str, Any], nonce: str) -> dict[str, bool]:
        now, audience = time.time(), claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        several = len(audiences) > 1 or "azp" in claims
        return {
            "iss": claims.get("iss") != self.issuer,
            "aud": self.client_id not in audiences,
            "azp": several and claims.get("azp") != self.client_id,
            "exp": not _number(claims.get("exp")) or claims["exp"] + LEEWAY < now,
            "iat": not _number(claims.get("iat")) or claims["iat"] - LEEWAY > now,
            "nonce": claims.get("nonce") != nonce,
            "sub": not isinstance(claims.get("sub"), str) or not 0 < len(claims["sub"]) <= 255,
        }

    def _untrusted(self, fault: str) -> ProviderProblem:
        log.warning("id_token_refused", issuer=self.issuer, fault=fault)
        return ProviderProblem(
            f"The identity provider's ID token is not good ({fault}), so you are not signed in."
        )

    async def _key_set(self, metadata: Metadata, *, anew: bool = False) -> KeySet:
        fetched = self._keys
        fresh = fetched is not None and fetched[0] + KEYS_SECONDS > time.monotonic()
        if fetched is not None and (fresh or not anew):
            return fetched[1]
        answer = await self._request("GET", metadata.jwks_uri)
        usable = [key for key in answer.get("keys", ()) if _is_public(key)]
        try:
            keys = KeySet.import_key_set({"keys": usable})
        except (JoseError, ValueError, TypeError) as problem:
            raise ProviderProblem("The identity provider's keys cannot be read.") from problem
        self._keys = time.monotonic(), keys
        return keys

    async def _request(
        self,
        method: str,
        url: str,
        *,
        form: dict[str, str] | None = None,
        basic: tuple[str, str] | None = None,
        bearer: str | None = None,
    ) -> dict[str, Any]:
        """One request of JSON; redirects are not followed."""
        from aiohttp import BasicAuth, ClientError

        headers = {"Accept": "application/json"}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        auth = None if basic is None else BasicAuth(*basic)
        try:
            async with (
                _session() as session,
                session.request(
                    method, url, data=form, auth=auth, headers=headers, allow_redirects=False
                ) as answer,
            ):
                body, status = await _body(answer.content), answer.status
        except (ClientError, TimeoutError, OSError, ValueError) as problem:
            log.warning("identity_provider_unreachable", issuer=self.issuer, reason=repr(problem))
            raise ProviderProblem(
                "The identity provider does not answer. Try again in a moment, or sign in with "
                "your password."
            ) from problem
        if status != 200:
            log.warning("identity_provider_refuses", issuer=self.issuer, status=status)
            raise ProviderProblem(f"The identity provider refused: it answered {status}.")
        content: dict[str, Any] = _converted(body, dict[str, Any])
        return content


async def _body(content: "StreamReader") -> bytes:
    body = bytearray()
    async for chunk in content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > BODY_MAX:
            raise ProviderProblem("The identity provider's answer is too large.")
    return bytes(body)


def _session() -> "ClientSession":
    from aiohttp import ClientSession, ClientTimeout

    return ClientSession(timeout=ClientTimeout(total=SECONDS))


def _converted(content: Any, shape: Any) -> Any:
    try:
        if isinstance(content, bytes):
            return msgspec.json.decode(content, type=shape)
        return msgspec.convert(content, shape)
    except msgspec.MsgspecError as problem:
        raise ProviderProblem("The identity provider's answer cannot be read.") from problem


def _is_public(key: Any) -> bool:
    return isinstance(key, dict) and key.get("kty") in {"RSA", "EC", "OKP"}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _name(value: Any) -> str | None:
    good = isinstance(value, str) and 0 < len(value) <= NAME_MAX and value.isprintable()
    return value if good else None
