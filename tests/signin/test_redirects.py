"""Nobody is sent to another place than pages of ours."""

from collections.abc import Callable
from urllib.parse import quote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.signin.redirects import HOME, PLACES, local_path

from .browser import Browser, is_at
from .conftest import PASSWORD, Person

ORIGIN = "https://serai.example.com"
PARTS = st.sampled_from(
    ["/", "//", "\\", "@", ":", "..", ".", "%2e", "%2f", "%5c", "\t", "\n", "\0", " ", "?", "#",
     "account", "device", "oauth/authorize", "v0", "preview/x", "evil.example", "https:",
     "javascript:", "data:", "é", "\u2028", "next=/", "&"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PARTS, max_size=8).map("".join)))
def test_what_is_let_through_is_a_page_of_ours(text: str) -> None:
    path = local_path(text)
    assert path in {text, HOME}
    # As a browser reads a Location header: white space at the ends goes, backslashes are slashes.
    seen = urlsplit(urljoin(ORIGIN, path.strip().replace("\\", "/")))
    assert f"{seen.scheme}://{seen.netloc}" == ORIGIN
    assert any(seen.path == place or seen.path.startswith(place + "/") for place in PLACES)
    assert path.isascii()
    assert path.isprintable()


@given(st.sampled_from(PLACES), st.text(st.characters(min_codepoint=33, max_codepoint=126)))
def test_queries_of_our_pages_pass(place: str, query: str) -> None:
    wanted = f"{place}?{query.replace(chr(92), '')}"
    assert local_path(wanted) == wanted


@pytest.mark.parametrize(
    "goal",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/preview/x",
        "/account/../preview/x",
        "javascript:alert(1)",
        "/account\r\nSet-Cookie: a=b",
        "/v0/agents",
        "",
        "account",
    ],
)
def test_signing_in_goes_nowhere_else(
    new_browser: Callable[..., Browser], person: Person, goal: str
) -> None:
    browser = new_browser()
    is_at(browser.sign_in(person.email, PASSWORD, quote(goal)), HOME)
    is_at(browser.get(f"/login?next={quote(goal)}"), HOME)
    fields = browser.form("/login?again=1", "/login", email=person.email, password=PASSWORD)
    is_at(browser.post("/login", fields | {"next": goal}), HOME)
