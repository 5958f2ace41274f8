"""The server's first admin in a browser: sets it up, then lets devices in or refuses them."""

from typing import Any

from platform_server import KEY, Server
from signin.browser import Browser, is_at, shown

EMAIL, PASSWORD = "boss@example.com", "seven brown otters juggle"


class Person:
    """Somebody who is signed in."""

    def __init__(self, server: Server) -> None:
        self.browser = Browser(server)
        self.sub: str = server.client.get("/v0/profile").json()["sub"]
        typed = {"api_key": KEY, "email": EMAIL, "password": PASSWORD, "again": PASSWORD}
        is_at(self.browser.submit("/setup", "/setup", **typed), "/account?done=welcome")

    def approve(self, link: str) -> None:
        """Let the device in that shows this link."""
        assert "The device is connected" in self._answer(link, "approve")

    def deny(self, link: str) -> None:
        """Refuse the device that shows this link."""
        assert "The device was denied" in self._answer(link, "deny")

    def login(self) -> dict[str, Any]:
        """Credentials as `bl login` stores them, made without it."""
        device = self._post("/v0/login/device", client_id="blaxel", scope="offline_access")
        self.approve(device["verification_uri_complete"])
        code = device["device_code"]
        kind = "urn:ietf:params:oauth:grant-type:device_code"
        token = self._post("/v0/oauth/token", grant_type=kind, client_id="blaxel", device_code=code)
        del token["token_type"]
        return token | {"device_code": code}

    def _post(self, path: str, **body: str) -> dict[str, Any]:
        answer = self.browser.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def _answer(self, link: str, answer: str) -> str:
        page: str = shown(self.browser.submit(link, "/device", answer=answer))
        return page

    def end_logins(self) -> None:
        """Take the access of every application and device away."""
        ends = "/account/grants/end"
        while ends in (page := self.browser.get("/account")).text:
            is_at(self.browser.submit(page, ends), "/account?done=grant")
