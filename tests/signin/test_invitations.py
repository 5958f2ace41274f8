"""The page of an invitation's link, in a browser without scripts."""

import re
from collections.abc import Callable

import httpx

from identity.conftest import World, done
from platform_server import KEY
from serai.kernel.ids import token

from .browser import Browser, is_at, said, shown
from .conftest import PASSWORD, Person

ACCEPT, DECLINE = "/invitations/accept", "/invitations/decline"


def invited(world: World, email: str, workspace: str = "main") -> str:
    """The path of a new invitation's link."""
    headers = {"X-Blaxel-Workspace": workspace}
    body = {"email": email, "role": "member"}
    link: str = done(world.admin.post("/v0/users", json=body, headers=headers))["link"]
    assert link.startswith(world.server.url + "/invitations?token=")
    assert link in world.server.log.read_text()
    return link.removeprefix(world.server.url)


def key_in(page: str) -> str:
    found = re.search(r'class="secret">([^<]+)<', page)
    assert found, page[:2000]
    return found[1]


def test_somebody_new_sets_a_password_and_gets_a_key(
    world: World, new_browser: Callable[..., Browser]
) -> None:
    email = f"{token(8)}@example.com"
    link, browser = invited(world, email), new_browser()
    assert email in shown(browser.get(link))
    weak = browser.submit(link, ACCEPT, password="short", again="short")
    assert weak.status_code == 400
    page = shown(browser.submit(weak, ACCEPT, password=PASSWORD, again=PASSWORD))
    me = done(world.client(key_in(page)).get("/v0/profile"))
    assert (me["email"], [one["name"] for one in me["workspaces"]]) == (email, ["main"])
    assert email in shown(browser.get("/account"))
    assert "no such invitation" in said(browser.get(link))
    other = new_browser()
    is_at(other.sign_in(email, PASSWORD), "/account")


def test_somebody_new_takes_only_a_key(world: World, new_browser: Callable[..., Browser]) -> None:
    email = f"{token(8)}@example.com"
    browser = new_browser()
    fields = browser.form(browser.get(invited(world, email)), ACCEPT) | {"key_only": "yes"}
    page = shown(browser.post(ACCEPT, fields))
    assert done(world.client(key_in(page)).get("/v0/profile"))["email"] == email
    assert browser.session is None


def test_somebody_known_signs_in_to_accept(
    world: World,
    new_browser: Callable[..., Browser],
    new_person: Callable[..., Person],
) -> None:
    person, (_, workspace) = new_person(), world.new_workspace()
    link, browser = invited(world, person.email, workspace), new_browser()
    page = shown(browser.get(link))
    assert f'action="{ACCEPT}"' not in page
    fields = browser.form(browser.get(link), DECLINE)
    refused = browser.post(ACCEPT, fields | {"password": PASSWORD, "again": PASSWORD})
    assert refused.status_code == 403
    is_at(browser.sign_in(person.email, PASSWORD, link), link)
    assert workspace in shown(browser.submit(link, ACCEPT))
    names = {one["email"] for one in done(world.client(KEY, workspace).get("/v0/users"))}
    assert person.email in names


def test_another_person_cannot_accept_it(
    world: World,
    new_browser: Callable[..., Browser],
    new_person: Callable[..., Person],
) -> None:
    person, other, (_, workspace) = new_person(), new_person(), world.new_workspace()
    link, browser = invited(world, person.email, workspace), new_browser()
    is_at(browser.sign_in(other.email, PASSWORD), "/account")
    fields = browser.form(browser.get(link), DECLINE)
    assert browser.post(ACCEPT, fields).status_code == 403


def test_declining_needs_only_the_link(world: World, new_browser: Callable[..., Browser]) -> None:
    link, browser = invited(world, f"{token(8)}@example.com"), new_browser()
    fields = browser.form(browser.get(link), DECLINE)
    forged = httpx.post(world.server.url + DECLINE, data=fields, trust_env=False)
    assert forged.status_code == 403
    assert "Declined" in shown(browser.post(DECLINE, fields))
    assert browser.get(link).status_code == 404


def test_links_that_lead_nowhere(world: World, new_browser: Callable[..., Browser]) -> None:
    browser = new_browser()
    for path in ("/invitations", "/invitations?token=", "/invitations?token=inv_x%0d%0aA:b"):
        assert "no such invitation" in said(browser.get(path))
