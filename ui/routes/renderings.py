"""Pages as sent: requests in the same moment share one, and a browser that has one gets only what differs."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from flask import Response, request

from ui.pages.changed_rows import Rendering, RowKey, rendering

from .replies import preferences

HAVE: Final = "X-Kalshi-Bus-Have"
"""Request header: the page that the browser has, by the name it was sent with."""

PAGE: Final = "X-Kalshi-Bus-Page"
"""Response header: the name of the page."""

NOW: Final = "X-Kalshi-Bus-Now"
"""Response header: the present time, in ms by the page's clock."""

VIEWS: Final = 64
KEPT: Final = 8
"""How many addresses are kept, and how many of the last pages of each, which browsers may still have."""


class _View:
    """One address: its page of the latest moment, and the row digests of earlier ones."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.moment: object = None
        self.page: Rendering | None = None
        self.had: OrderedDict[str, Mapping[RowKey, bytes]] = OrderedDict()

    def put(self, moment: object, text: str) -> Rendering:
        page = rendering(text)
        self.moment, self.page = moment, page
        self.had[page.token] = page.digests()
        self.had.move_to_end(page.token)
        while len(self.had) > KEPT:
            self.had.popitem(last=False)
        return page


class Renderings:
    """The pages sent lately, by address. Any thread."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._views: OrderedDict[str, _View] = OrderedDict()

    def answer(self, moment: object, make: Callable[[], Response]) -> Response:
        """Return the page for this request: one made for another in the same `moment`, or one by `make`."""
        view = self._view(f"{request.full_path} {preferences().key}")
        with view.lock:
            had = view.had.get(request.headers.get(HAVE, ""))
            page = view.page if view.moment is moment else None
            if page is None:
                response = make()
                if response.status_code != 200:
                    return response
                page = view.put(moment, response.get_data(as_text=True))
        response = Response(page.text if had is None else page.without(had))
        response.headers[PAGE] = page.token
        response.headers[NOW] = str(self._now_ms())
        return response

    def _view(self, address: str) -> _View:
        with self._lock:
            view = self._views.setdefault(address, _View())
            self._views.move_to_end(address)
            while len(self._views) > VIEWS:
                self._views.popitem(last=False)
        return view
