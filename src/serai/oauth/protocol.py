"""What Authlib reads and gives back, without a web framework: parameters in, an answer out."""

from collections.abc import Mapping
from typing import Any

import msgspec
from authlib.oauth2.rfc6749 import OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload

PLACE = "https://localhost/"
"""Authlib wants to know that a request came encrypted; whether that is needed is the operator's
choice, for the whole server."""
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
DESCRIPTION_MAX = 400
DESCRIPTIONS = {
    "access_denied": "The person did not agree.",
    "authorization_pending": "The person has not answered yet: ask again in 3 seconds.",
    "invalid_scope": "scope is more than what was granted.",
    "slow_down": "You ask more than once a second: ask every 3 seconds.",
    "unauthorized_client": "This client may not use this grant_type.",
}
"""For errors that Authlib raises without one."""


class Answer(msgspec.Struct, frozen=True):
    """Status, JSON body and headers of an answer."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


class ProtocolRequest(OAuth2Request):
    """The parameters of a request, each of which came once, and its ``Authorization`` header."""

    def __init__(self, values: Mapping[str, str], authorization: str = "") -> None:
        headers = {"Authorization": authorization} if authorization else {}
        super().__init__("POST", PLACE, headers=headers)
        self.values = dict(values)
        self.payload = BasicOAuth2Payload(self.values)

    @property
    def form(self) -> dict[str, str]:
        """The parameters."""
        return self.values

    @property
    def args(self) -> dict[str, str]:
        """The parameters."""
        return self.values


def refusal(error: str, text: str, status: int = 400) -> OAuth2Error:
    """An error of the protocol; ``text`` may quote what the client sent.

    A description has no double quotes, backslashes or anything beyond ASCII (RFC 6749, 5.2).
    """
    allowed = (char if " " <= char <= "~" and char not in '"\\' else "?" for char in text)
    return OAuth2Error("".join(allowed)[:DESCRIPTION_MAX], error=error, status_code=status)


def refused(problem: OAuth2Error) -> Answer:
    """The answer that tells a client about an error."""
    headers = dict(NO_STORE)
    if problem.status_code == 401:
        headers["WWW-Authenticate"] = 'Basic realm="serai"'
    description = problem.description or DESCRIPTIONS.get(problem.error) or problem.error
    body = {"error": problem.error, "error_description": description}
    return Answer(problem.status_code, body, headers)
