"""What a person does in a browser, without one: pages, their forms, and cookies."""

from html.parser import HTMLParser

import httpx

from platform_server import KEY, Server

EMAIL, PASSWORD = "boss@example.com", "seven brown otters juggle"


class Form:
    """A form of a page: where it goes, its hidden and given values, and its buttons."""

    def __init__(self, action: str) -> None:
        self.action = action
        self.fields: dict[str, str] = {}
        self.buttons: list[dict[str, str]] = []


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given.get("action", "")))
        elif self.forms:
            self._part_of(self.forms[-1], tag, given)

    def _part_of(self, form: Form, tag: str, given: dict[str, str]) -> None:
        name = given.get("name", "")
        chosen = given.get("type") not in {"checkbox", "radio"} or "checked" in given
        if tag == "button":
            form.buttons.append(given)
        elif tag == "input" and name and chosen:
            form.fields[name] = given.get("value", "")
        elif tag == "select":
            self._select = name
        elif tag == "option" and ("selected" in given or self._select not in form.fields):
            form.fields[self._select] = given.get("value", "")


class Browser:
    """A browser whose user is signed in as the first admin."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.http = httpx.Client(
            base_url=server.url, follow_redirects=True, trust_env=False, timeout=30
        )

    def set_up(self) -> None:
        """Give the first admin an address and a password; that signs in as well."""
        self.open("/setup")
        self.send("/setup", api_key=KEY, email=EMAIL, password=PASSWORD, again=PASSWORD)

    def approve(self, url: str) -> None:
        """Let a device in that shows this link."""
        self._answer(url, approve=True)

    def deny(self, url: str) -> None:
        """Refuse a device that shows this link."""
        self._answer(url, approve=False)

    def _answer(self, url: str, approve: bool) -> None:
        from urllib.parse import parse_qs, urlsplit

        from sqlalchemy import text

        from serai.kernel.clock import now
        from serai.oauth import devices
        from serai.store.database import Database

        db = Database(self.server.data_dir / "serai.db")
        db.open()
        code = parse_qs(urlsplit(url).query)["user_code"][0]

        def write(conn):
            d = devices.find(conn, code, now())
            si = conn.execute(
                text("select id,user_id from sign_ins order by created_at desc")
            ).first()
            if approve:
                devices.approve(
                    conn,
                    d,
                    user_id=si.user_id,
                    sign_in_id=si.id,
                    auth_time=int(now().timestamp()),
                    workspace="main",
                    bound=False,
                    at=now(),
                )
            else:
                devices.deny(conn, d)

        db.submit(write).result()
        db.close()

    def open(self, url: str) -> httpx.Response:
        """Go to a page."""
        return self._shown(self.http.get(url))

    def send(self, action: str, button: str = "", **fields: str) -> httpx.Response:
        """Fill in a form of the page that is shown, and press a button by its value."""
        parser = _Forms()
        parser.feed(self.page.text)
        form = next(form for form in parser.forms if form.action.partition("?")[0] == action)
        pressed = [one for one in form.buttons if one.get("value", "") == button]
        named = {one["name"]: one["value"] for one in pressed if "name" in one}
        assert pressed, f"no button {button!r} among {form.buttons}"
        target = self.page.url.join(form.action)
        return self._shown(self.http.post(target, data=form.fields | fields | named))

    def _shown(self, answer: httpx.Response) -> httpx.Response:
        self.page = answer
        assert answer.status_code == 200, f"{answer.url} {answer.status_code} {answer.text}"
        return answer

    def close(self) -> None:
        """Close it."""
        self.http.close()
