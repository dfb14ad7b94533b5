"""What is read in the headers of a request, whoever sent it."""

import pytest

from bus.process.http_headers import joined, names_this_machine


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "LocalHost:5001", "127.0.0.1", "127.0.0.1:80", "127.1.2.3:5002", "[::1]:5001"],
)
def test_names_of_this_machine_are_answered(host: str) -> None:
    assert names_this_machine(host, "1.1")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.nip.io",
        "127.0.0.1:80.evil.example",
        "[::1].evil.example",
        "[::2]",
        "localhost.",
        "localhost:",
        "localhost:5001, localhost:5001",
        "localhost\n",
        " localhost",
        "localh\u00f6st",
        "127.0.0.\u0661",
        "",
    ],
)
def test_all_other_names_are_not(host: str) -> None:
    assert not names_this_machine(host, "1.1")
    assert not host or not names_this_machine(host, "1.0")


@pytest.mark.parametrize("version", ["1", "1.0"])
def test_only_http_1_0_may_do_without(version: str) -> None:
    assert names_this_machine("", version)


def test_a_header_given_twice_is_neither_of_its_values() -> None:
    headers = joined([(b"Host", b"localhost"), (b"accept", b"a"), (b"host", b"localhost"), (b"Accept", b"b")])
    assert headers == {"host": "localhost, localhost", "accept": "a, b"}
    assert not names_this_machine(headers["host"], "1.1")
