"""Codes of an app, and recovery codes."""

import re
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from sqlalchemy import update

from identity.conftest import World
from serai.identity import limits
from serai.store.tables.sign_in import second_factors, sign_ins

from .browser import Browser, is_at, said, shown
from .conftest import PASSWORD, Person, fresh_address, stored
from .test_limits import spend


class App:
    """An authenticator app, with a secret typed in from the page."""

    def __init__(self, page: str) -> None:
        import base64

        found = re.search(r"<code>([A-Z2-7 ]+)</code>", page)
        assert found
        text = found[1].replace(" ", "")
        self.secret = base64.b32decode(text + "=" * (-len(text) % 8))
        self._totp = TOTP(self.secret, 6, SHA1(), 30, enforce_key_length=False)
        self.used = ""

    def code(self, steps: int = 1) -> str:
        """What it shows some steps of 30 seconds from now.

        The next one is good for half a minute at least, however slow this machine is.
        """
        return self._totp.generate(time.time() + 30 * steps).decode()


def turn_on(browser: Browser) -> tuple[App, list[str]]:
    """Turn the second factor on; returns the app and the recovery codes."""
    page = browser.get("/account/second-factor")
    app = App(shown(page))
    app.used = app.code(0)
    done = browser.submit(page, "/account/second-factor", code=app.used)
    codes = re.findall(r"<li>(\w{5}-\w{5})</li>", shown(done))
    assert len(set(codes)) == 10
    return app, codes


def password_then(browser: Browser, person: Person, code: str) -> object:
    """Sign in with a password and a code."""
    asked = browser.sign_in(person.email, PASSWORD, "/device")
    assert browser.session is None
    return browser.submit(asked, "/login/code", code=code)


def test_signing_in_takes_a_code_once(
    world: World, signed_in: Browser, person: Person, new_browser: Callable[..., Browser]
) -> None:
    page = shown(signed_in.get("/account/second-factor"))
    assert 'src="data:image/svg+xml' in page
    app, codes = turn_on(signed_in)
    assert codes[0] not in shown(signed_in.get("/account"))
    other = new_browser(fresh_address())
    code = app.code()
    is_at(password_then(other, person, f"{code[:3]} {code[3:]}"), "/device")
    assert "password+code" in stored(world, sign_ins, "method", user_id=person.id)
    third = new_browser(fresh_address())
    answer = password_then(third, person, code)
    assert "each works once" in said(answer), "no code counts twice"
    is_at(third.submit(answer, "/login/code", code=codes[0].upper()), "/device")
    fourth = new_browser(fresh_address())
    assert "not right" in said(password_then(fourth, person, codes[0]))
    assert "On; 9 recovery codes left" in shown(signed_in.get("/account"))


def test_codes_of_other_times_and_other_forms(
    signed_in: Browser, person: Person, new_browser: Callable[..., Browser]
) -> None:
    app, _ = turn_on(signed_in)
    browser = new_browser(fresh_address())
    asked = browser.sign_in(person.email, PASSWORD)
    for wrong in (app.used, app.code(-3), app.code(40), "", "000", "\uff11" * 6, "x" * 50):
        fields = browser.form(asked, "/login/code", code=wrong)
        answer = browser.post("/login/code", fields)
        assert shown(answer, 400)
    assert browser.session is None


def test_the_second_step_belongs_to_one_browser_and_a_few_minutes(
    signed_in: Browser, person: Person, new_browser: Callable[..., Browser], world: World
) -> None:
    app, _ = turn_on(signed_in)
    browser, thief = new_browser(fresh_address()), new_browser(fresh_address())
    fields = browser.form(browser.sign_in(person.email, PASSWORD), "/login/code")
    own = thief.form("/login", "/login")["form_token"]
    stolen = {"form_token": own, "ticket": fields["ticket"], "code": app.code()}
    assert "took too long" in said(thief.post("/login/code", stolen))
    for ticket in ("", "x", fields["ticket"][:-4], fields["ticket"][4:]):
        assert "took too long" in said(browser.post("/login/code", fields | {"ticket": ticket}))
    is_at(browser.post("/login/code", fields | {"code": app.code()}), "/account")


def test_a_password_change_in_between_voids_the_second_step(
    signed_in: Browser, person: Person, new_browser: Callable[..., Browser]
) -> None:
    app, _ = turn_on(signed_in)
    browser = new_browser(fresh_address())
    fields = browser.form(browser.sign_in(person.email, PASSWORD), "/login/code")
    new = "another four words there"
    changed = {"current": PASSWORD, "password": new, "again": new}
    is_at(signed_in.submit("/account", "/account/password", **changed), "/account?done=password")
    assert "took too long" in said(browser.post("/login/code", fields | {"code": app.code()}))
    assert browser.session is None


def test_guessing_codes_is_bounded_and_known_browsers_still_get_in(
    world: World, signed_in: Browser, person: Person, new_browser: Callable[..., Browser]
) -> None:
    _, codes = turn_on(signed_in)
    [budget] = limits.for_code(person.id, None)
    spend(world, budget, budget.failures - 2)
    statuses = []
    for number in range(4):
        guesser = new_browser(fresh_address())
        fields = guesser.form(guesser.sign_in(person.email, PASSWORD), "/login/code")
        statuses.append(guesser.post("/login/code", fields | {"code": f"{number:06}"}).status_code)
    assert statuses == [400, 400, 429, 429]
    signed_in.submit("/account", "/logout")
    is_at(password_then(signed_in, person, codes[3]), "/device")


def test_off_and_new_recovery_codes_need_a_code(signed_in: Browser) -> None:
    _, codes = turn_on(signed_in)
    off, renew = "/account/second-factor/off", "/account/second-factor/recovery"
    for action in (off, renew):
        assert "not right" in said(signed_in.submit("/account", action, code="123"))
    renewed = re.findall(
        r"<li>(\w{5}-\w{5})</li>", shown(signed_in.submit("/account", renew, code=codes[0]))
    )
    assert set(codes).isdisjoint(renewed)
    assert "not right" in said(signed_in.submit("/account", off, code=codes[1]))
    assert signed_in.get("/account/second-factor").status_code == 409
    is_at(signed_in.submit("/account", off, code=renewed[0]), "/account?done=code-off")
    assert "Turn it on" in shown(signed_in.get("/account"))


def test_a_secret_that_was_never_confirmed_asks_for_nothing(
    signed_in: Browser, person: Person, new_browser: Callable[..., Browser], world: World
) -> None:
    first = shown(signed_in.get("/account/second-factor"))
    wrong = signed_in.submit("/account/second-factor", "/account/second-factor", code="000000")
    assert "not right" in said(wrong)
    assert App(first).secret == App(wrong.text).secret, "the picture stays the same meanwhile"
    is_at(new_browser().sign_in(person.email, PASSWORD), "/account")
    sealed = update(second_factors).where(second_factors.c.user_id == person.id)
    world.write(lambda conn: conn.execute(sealed.values(sealed=b"broken")))
    assert signed_in.get("/account/second-factor").status_code == 500
