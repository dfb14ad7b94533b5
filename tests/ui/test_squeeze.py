"""What is compressed, and for which clients."""

import gzip
import zlib

import pytest
from werkzeug.wrappers import Response

from ui.squeeze import SqueezedStream, squeezed, takes_gzip


@pytest.mark.parametrize(
    ("header", "takes"),
    [
        ("gzip, deflate, br", True),
        ("br;q=1.0, GZIP ; q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("identity", False),
        ("", False),
        ("gzipped", False),
    ],
)
def test_which_clients_take_gzip(header: str, takes: bool) -> None:
    assert takes_gzip(header) is takes


def test_a_page_is_compressed_and_marked_so_for_clients_that_take_gzip() -> None:
    page = "<p>row</p>" * 1_000
    answer = squeezed(Response(page, mimetype="text/html"), "gzip")

    assert gzip.decompress(answer.get_data()).decode() == page
    assert len(answer.get_data()) < len(page) / 20
    assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert answer.headers["Content-Length"] == str(len(answer.get_data()))
    assert squeezed(Response(page, mimetype="text/html"), "br").get_data(as_text=True) == page


def test_short_answers_and_those_that_are_not_text_are_left_alone() -> None:
    for answer in (Response("short", mimetype="text/html"), Response(b"x" * 9_999, mimetype="image/png")):
        before = answer.get_data()
        assert squeezed(answer, "gzip").get_data() == before
        assert "Content-Encoding" not in answer.headers


def test_each_part_of_a_stream_can_be_read_on_arrival_and_repetition_costs_little() -> None:
    stream, reader = SqueezedStream(), zlib.decompressobj(16 + zlib.MAX_WBITS)
    event = b"event: update\ndata: " + bytes(range(33, 127)) * 30 + b"\n\n"
    sizes = []
    for _ in range(5):
        part = stream.part(event)
        sizes.append(len(part))
        assert reader.decompress(part) == event
    assert max(sizes[1:]) < 100
