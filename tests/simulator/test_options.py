"""The command line of the simulator: what is wrong with it is said in words."""

import pytest

from simulator.options import parse


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--port abc", "--port: abc: expected a port from 0 to 65535"),
        ("--port 65536", "--port: 65536: expected a port"),
        ("--markets 1e3", "--markets: 1e3: expected a number of markets from 1 to 1000000"),
        ("--accounts 0", "--accounts: 0: expected a number of accounts from 1 to 100"),
        ("--cash ten", "--cash: ten: expected dollars"),
        ("--save-every soon", "--save-every: soon: expected seconds from 0.1 to 86400"),
        ("--save-every nan", "--save-every: nan: expected seconds"),
    ],
)
def test_an_argument_that_is_none_is_refused_with_what_was_expected(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(arguments.split())
    assert refused.value.code == 2
    assert said in capsys.readouterr().err


def test_the_command_line_is_read() -> None:
    found = parse(
        ["--port", "0", "--markets", "7", "--accounts", "2", "--save-every", "0.5", "--cash", "1.5"]
    )
    assert (found.port, found.markets, found.accounts) == (0, 7, 2)
    assert (found.save_s, found.cash_e6) == (0.5, 1_500_000)
