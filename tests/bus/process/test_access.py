"""Who may use the pages from elsewhere: whoever knows the token, and nobody's other page."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bus.clock import ManualClock
from bus.process.access import COOKIE, REQUESTS_AT_ONCE, SESSION_MS, Access, guarded, make_token, read_token
from bus.process.logs import redact
from bus.process.settings import Settings
from markets.errors import SettingsError, StartupError

TOKEN = "0123456789abcdef" * 4
BEARER = {"authorization": f"Bearer {TOKEN}"}
HERE = "192.0.2.7:5001"

Answer = tuple[int, dict[str, str], bytes]


async def inside(scope: Any, _receive: Any, send: Any) -> None:
    """Says what it sees of a request."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    seen = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    location = [(b"location", b"http://127.0.0.1:5004/markets?at=1")] if scope["path"] == "/past" else []
    await send({"type": "http.response.start", "status": 200, "headers": location})
    await send({"type": "http.response.body", "body": repr(sorted(seen.items())).encode()})


class Site:
    """An `Access` that is asked as a browser or program asks it."""

    def __init__(self, hosts: tuple[str, ...] = ("192.0.2.7",), proxies: tuple[str, ...] = ()) -> None:
        self.clock = ManualClock()
        self.access = Access(inside, TOKEN, 5001, hosts, proxies, self.clock)

    def ask(
        self,
        path: str = "/",
        headers: dict[str, str] | None = None,
        method: str = "GET",
        body: bytes = b"",
        client: str = "192.0.2.1",
        kind: str = "http",
    ) -> Answer:
        sent: list[Any] = []
        given = {"host": HERE} | (headers or {})
        scope = {
            "type": kind, "path": path, "http_version": "1.1", "client": (client, 1), "query_string": b"",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
        }  # fmt: skip
        if kind == "http":
            scope["method"] = method

        async def receive() -> Any:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.access(scope, receive, send))
        if kind == "websocket":
            return (101 if sent[0]["type"] == "websocket.accept" else 403), {}, b""
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], found, sent[1]["body"]

    def login(self, token: str = TOKEN, **more: Any) -> Answer:
        return self.ask("/login", method="POST", body=f"token={token}".encode(), **more)


def cookie_of(answer: Answer) -> dict[str, str]:
    return {"cookie": answer[1]["set-cookie"].partition(";")[0]}


@pytest.mark.parametrize(
    "path", ["/", "/api/status", "/metrics", "/health", "/static/app.js", "/ready/", "//ready"]
)
def test_nothing_is_answered_without_the_token(path: str) -> None:
    status, headers, body = Site().ask(path)
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert b"no_token" in body
    assert redact(body.decode()) == body.decode(), "the doctor and the logs say all of it"


def test_a_health_check_needs_none() -> None:
    assert Site().ask("/ready")[0] == 200


def test_a_browser_logs_in_and_is_let_in_by_its_cookie_until_it_is_old() -> None:
    site = Site()
    assert site.ask("/", {"accept": "text/html"})[:2][0] == 303
    assert b'type="password"' in site.ask("/login")[2]
    answer = site.login(headers={"origin": f"http://{HERE}"})
    assert (answer[0], answer[1]["location"]) == (303, "/")
    for word in ("HttpOnly", "SameSite=Strict", "Path=/"):
        assert word in answer[1]["set-cookie"]
    assert "Secure" not in answer[1]["set-cookie"]
    assert TOKEN not in answer[1]["set-cookie"]
    assert site.ask("/", cookie_of(answer))[0] == 200
    assert site.ask("/logout", cookie_of(answer), "POST")[1]["set-cookie"].startswith(f"{COOKIE}=;")
    site.clock.advance(SESSION_MS + 1)
    assert site.ask("/", cookie_of(answer))[0] == 401


def test_behind_tls_the_cookie_is_for_tls_only() -> None:
    site = Site(("desk.example",))
    headers = {"host": "desk.example", "origin": "https://desk.example", "x-forwarded-proto": "https"}
    answer = site.login(headers=headers)
    assert answer[0] == 303
    assert "; Secure" in answer[1]["set-cookie"]


@pytest.mark.parametrize(
    "cookie",
    ["", f"{COOKIE}=", f"{COOKIE}=1.x", f"{COOKIE}=99999999999999.{'0' * 64}", f"{COOKIE}=-1.x",
     f"{COOKIE}=9e9.é", f'{COOKIE}="\\"', f"{COOKIE}={'9' * 5000}.x", "\xff;;=", TOKEN],
)  # fmt: skip
def test_no_other_cookie_is_one(cookie: str) -> None:
    assert Site().ask("/", {"cookie": cookie})[0] == 401


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", "Bearer \xff"]
)
def test_no_other_word_is_the_token(given: str) -> None:
    assert Site().ask("/", {"authorization": given})[0] == 401


def test_inside_it_looks_as_if_it_came_from_this_machine_and_no_secret_is_seen() -> None:
    headers = {"origin": f"http://{HERE}", "cookie": "a=b", "x-kalshi-bus": "1"}
    status, _, body = Site().ask("/", BEARER | headers, "POST")
    assert status == 200
    assert body.decode() == repr(
        [("host", "127.0.0.1:5001"), ("origin", "http://127.0.0.1:5001"), ("x-kalshi-bus", "1")]
    )


def test_who_is_sent_on_is_sent_on_to_the_name_it_knows() -> None:
    assert Site().ask("/past", BEARER)[1]["location"] == "http://192.0.2.7:5004/markets?at=1"


@pytest.mark.parametrize(
    "host", ["evil.example", "192.0.2.7.nip.io", "", "192.0.2.7:5001, evil.example", "192.0.2.70"]
)
def test_another_name_of_this_machine_is_refused_with_the_token_too(host: str) -> None:
    assert Site().ask("/", BEARER | {"host": host})[0] == 400


def test_names_that_were_set_are_taken() -> None:
    site = Site(("desk.example",))
    assert site.ask("/", BEARER | {"host": "Desk.Example:8443"})[0] == 200
    assert site.ask("/", BEARER | {"host": "localhost:5001"})[0] == 200


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://192.0.2.7:5002"},
     {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}],
)  # fmt: skip
def test_a_page_of_another_site_can_do_nothing_with_a_users_cookie(headers: dict[str, str]) -> None:
    site = Site()
    cookie = cookie_of(site.login())
    assert site.ask("/api/trader/kill", cookie | headers, "POST")[0] == 403
    assert site.login(headers=headers)[0] == 403
    assert site.ask("/ws", cookie | headers, kind="websocket")[0] == 403


def test_a_websocket_needs_the_token_like_all_else() -> None:
    site = Site()
    assert site.ask("/ws", kind="websocket")[0] == 403
    assert site.ask("/login", kind="websocket")[0] == 403
    assert site.ask("/ready", kind="websocket")[0] == 403
    assert site.ask("/ws", BEARER, kind="websocket")[0] == 101
    assert site.ask("/ws", cookie_of(site.login()), kind="websocket")[0] == 101


def test_whoever_guesses_is_slowed_down_and_whoever_knows_it_is_not() -> None:
    site = Site()
    wrong = {"authorization": f"Bearer {'x' * 64}", "accept": "text/html"}
    statuses = [site.login("x" * 64)[0] for _ in range(8)] + [site.ask("/", wrong)[0] for _ in range(10)]
    assert statuses == [403] * 8 + [303] * 2 + [429] * 8
    for answer in (site.login("x" * 64), site.ask("/api/trader/kill", wrong, "POST")):
        assert (answer[0], answer[1]["retry-after"]) == (429, "10")
    cookie = cookie_of(site.login())
    for headers in (BEARER, cookie, cookie | wrong):
        assert site.ask("/api/trader/kill", headers, "POST")[0] == 200
    assert site.login("x" * 64, client="192.0.2.2")[0] == 403
    assert site.ask("/")[0] == 401, "that is no guess"
    site.clock.advance(11_000)
    assert [site.ask("/api/status", {"authorization": "Bearer x"})[0] for _ in range(2)] == [401, 429]


def test_a_stranger_who_asks_too_often_keeps_nobody_out_who_knows_the_token() -> None:
    site = Site()
    statuses = [site.ask("/ready")[0] for _ in range(int(REQUESTS_AT_ONCE) + 5)]
    assert statuses.count(429) == 5
    assert site.ask("/", BEARER)[0] == 200


def test_one_address_asks_so_often_and_no_oftener() -> None:
    site = Site()
    statuses = [site.ask("/", BEARER)[0] for _ in range(int(REQUESTS_AT_ONCE) + 5)]
    assert statuses.count(429) == 5
    assert site.ask("/", BEARER, client="192.0.2.2")[0] == 200


def test_where_a_request_is_from_is_told_by_a_proxy_that_was_named_only() -> None:
    for proxies, blocked in (((), True), (("10.0.0.1",), False)):
        site = Site(proxies=proxies)
        for guess in range(50):
            site.login("wrong", client="10.0.0.1", headers={"x-forwarded-for": f"1.1.1.1, 2.2.2.{guess % 2}"})
        answer = site.login("wrong", client="10.0.0.1", headers={"x-forwarded-for": "3.3.3.3"})
        assert answer[0] == (429 if blocked else 403)


@pytest.mark.parametrize(
    "body", [b"", b"token", b"token=", b"\xff\xfe", b"a=b&" * 100, b"token=" + b"%ff" * 64]
)
def test_what_is_no_form_is_no_login(body: bytes) -> None:
    assert Site().ask("/login", method="POST", body=body)[0] == 403


def test_a_large_body_is_not_read() -> None:
    assert Site().ask("/login", method="POST", body=b"x" * 100_000)[0] == 413
    assert Site().ask("/login", method="PUT")[0] == 405


def settings(folder: Path, **changes: str) -> Settings:
    return Settings.load({f"KALSHI_BUS_{key.upper()}": value for key, value in changes.items()}, folder)


def test_off_loopback_nothing_starts_without_a_token_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(tmp_path, bind="0.0.0.0")
    (problem,) = refused.value.problems
    assert problem.startswith("KALSHI_BUS_BIND (environment): got '0.0.0.0', expected 127.0.0.1")
    assert "KALSHI_BUS_TOKEN_FILE names no file" in problem
    assert settings(tmp_path, bind="0.0.0.0", token_file="token").bind == "0.0.0.0"
    assert settings(tmp_path, bind="127.0.0.2").bind == "127.0.0.2"


@pytest.mark.parametrize("bind", ["*", "localhost", "::1", "10.0.0.256", "", "10.0.0.1:5001"])
def test_an_address_is_an_address(tmp_path: Path, bind: str) -> None:
    if bind:
        with pytest.raises(SettingsError, match="KALSHI_BUS_BIND"):
            settings(tmp_path, bind=bind, token_file="token")


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        (TOKEN, 0o644, "looser than 0600"),
        ("", 0o600, "no token in it"),
        ("changeme", 0o600, "no token in it"),
        (f"{TOKEN} {TOKEN}", 0o600, "no token in it"),
        ("é" * 40, 0o600, "no token in it"),
        ("x" * 10_000, 0o600, "no token in it"),
    ],
)
def test_a_token_file_that_is_none_is_refused_and_not_repeated(
    tmp_path: Path, text: str, mode: int, expected: str
) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(StartupError, match=expected) as refused:
        read_token(settings(tmp_path, token_file="token"))
    assert not text or text not in str(refused.value)


def test_a_token_that_was_made_is_read_and_never_overwritten(tmp_path: Path) -> None:
    make_token(tmp_path / "token", TOKEN)
    assert read_token(settings(tmp_path, token_file="token")) == TOKEN
    with pytest.raises(StartupError, match="File exists"):
        make_token(tmp_path / "token", TOKEN)


def test_without_a_token_file_there_is_nothing_in_between(tmp_path: Path) -> None:
    assert guarded(inside, 5001, settings(tmp_path), ManualClock()) is inside
