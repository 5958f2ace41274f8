"""A browser without scripts: keeps cookies, reads forms out of pages and sends them."""

import re
from html.parser import HTMLParser
from typing import Any

import httpx

from platform_server import ROOTS, Server


class Forms(HTMLParser):
    """The forms of a page: action to the fields that it sends when nobody types anything."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self._open = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            assert values["method"] == "post"
            self.found.append((values["action"], {}))
            self._open = True
        elif self._open and tag == "input":
            chosen = "checked" in values or values.get("type") not in {"radio", "checkbox"}
            if values.get("name") and chosen:
                self.found[-1][1][values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag != "form"


class Browser:
    """One browser of one person. ``address`` is the one it comes from, any of 127.0.0.0/8."""

    def __init__(self, server: Server, address: str = "127.0.0.1") -> None:
        self.server = server
        transport = httpx.HTTPTransport(verify=ROOTS, local_address=address)
        self.http = httpx.Client(
            base_url=server.url, transport=transport, timeout=60, trust_env=False
        )

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Open a page; redirects are not followed."""
        return self.http.get(path, headers=headers)

    def form(self, page: str | httpx.Response, action: str, **typed: str) -> dict[str, str]:
        """What the form with that action would send after somebody typed into it."""
        answer = self.get(page) if isinstance(page, str) else page
        forms = Forms(answer.text).found
        for found, fields in forms:
            if found == action and (typed.get("id") in {None, fields.get("id")}):
                return fields | typed
        raise AssertionError(f"no form for {action} in {answer.status_code} {answer.text[:3000]}")

    def submit(self, page: str | httpx.Response, action: str, **typed: str) -> httpx.Response:
        """Fill in a form of a page and send it, as a browser does."""
        return self.post(action, self.form(page, action, **typed))

    def post(self, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        """Send fields, with the headers that browsers add."""
        sent = {"Origin": self.server.url, "Sec-Fetch-Site": "same-origin"} | headers
        return self.http.post(path, data=fields, headers=sent)

    def sign_in(self, email: str, password: str, goal: str = "/account") -> httpx.Response:
        """Type address and password into the sign-in page."""
        page = f"/login?again=1&next={goal}"
        return self.submit(page, "/login", email=email, password=password)

    @property
    def session(self) -> str | None:
        """The session cookie."""
        return self.http.cookies.get(f"serai-{self.server.port}-session")

    def close(self) -> None:
        """Close the window."""
        self.http.close()


def said(answer: httpx.Response) -> str:
    """What a page says to the person, in its notice."""
    found = re.search(r'role="(?:alert|status)"[^>]*>(?:<p>)?(.*?)</p>', answer.text, re.S)
    assert found, answer.text[:3000]
    return re.sub(r"\s+", " ", found[1])


def is_at(answer: httpx.Response, path: str) -> None:
    """The answer sends the browser to that path."""
    assert (answer.status_code, answer.headers.get("location")) == (303, path), answer.text[:2000]


def shown(answer: httpx.Response, status: int = 200) -> Any:
    """The text of a page with that status."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:2000]}"
    return answer.text
