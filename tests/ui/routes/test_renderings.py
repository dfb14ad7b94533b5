"""Pages are rendered once per moment, and rows that a browser already has are not sent again."""

from typing import Any

import pytest
from flask import Flask, Response, abort
from werkzeug.exceptions import NotFound

from ui.routes.renderings import HAVE, KEPT, NOW, PAGE, VIEWS, Renderings

STUB = '<tr data-key="a" data-same></tr>'


def page(number: int, row: str = "1") -> str:
    return f'<p>{number}</p><table><tbody><tr data-key="a"><td>{row}</td></tr></tbody></table>'


class Asked:
    """A page that counts how often it is rendered."""

    def __init__(self) -> None:
        self.app = Flask(__name__)
        self.renderings = Renderings(lambda: 77)
        self.made = 0
        self.row = "1"

    def ask(self, moment: object, path: str = "/", have: str = "") -> Response:
        def make() -> Response:
            self.made += 1
            return Response(page(self.made, self.row))

        return self.answer(moment, make, path, have)

    def answer(self, moment: Any, make: Any, path: str = "/", have: str = "") -> Response:
        with self.app.test_request_context(path, headers={HAVE: have}):
            return self.renderings.answer(moment, make)


@pytest.fixture
def asked() -> Asked:
    return Asked()


def test_requests_in_one_moment_share_a_page(asked: Asked) -> None:
    moment = object()
    answers = [asked.ask(moment) for _ in range(10)]

    assert asked.made == 1
    assert {answer.get_data(as_text=True) for answer in answers} == {page(1)}
    assert answers[0].headers[NOW] == "77"
    assert asked.ask(object()).get_data(as_text=True) == page(2)
    assert asked.ask(moment, "/?sort=x").get_data(as_text=True) == page(3)


def test_a_browser_with_the_page_gets_stubs_and_one_without_gets_everything(asked: Asked) -> None:
    first = asked.ask(object()).headers[PAGE]

    second = asked.ask(object(), have=first)

    assert second.get_data(as_text=True) == f"<p>2</p><table><tbody>{STUB}</tbody></table>"
    assert asked.ask(object(), have="").get_data(as_text=True) == page(3)
    assert asked.ask(object(), have="of another start").get_data(as_text=True) == page(4)
    assert asked.ask(object(), "/other", have=first).get_data(as_text=True) == page(5)
    asked.row = "2"
    assert asked.ask(object(), have=second.headers[PAGE]).get_data(as_text=True) == page(6, "2")


def test_the_number_of_kept_pages_is_bounded(asked: Asked) -> None:
    first = asked.ask(object()).headers[PAGE]
    for _ in range(KEPT - 1):
        asked.ask(object())
    assert STUB in asked.ask(object(), have=first).get_data(as_text=True)
    assert STUB not in asked.ask(object(), have=first).get_data(as_text=True)

    moment = object()
    asked.ask(moment)
    made = asked.made
    for number in range(VIEWS):
        asked.ask(moment, f"/{number}")
    asked.ask(moment)
    assert asked.made == made + VIEWS + 1


def test_a_page_that_fails_is_not_kept(asked: Asked) -> None:
    moment = object()
    with pytest.raises(NotFound):
        asked.answer(moment, lambda: abort(404))
    assert asked.answer(moment, lambda: Response("bad", 400)).status_code == 400

    assert asked.ask(moment).get_data(as_text=True) == page(1)
