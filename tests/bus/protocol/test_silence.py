"""When a feed is lost, found, and connected to anew."""

from itertools import pairwise

from bus.protocol.silence import REBUILD_MAX_MS, SILENCE_MS, Silence


def test_a_feed_is_lost_once_and_found_by_the_next_message() -> None:
    silence = Silence(0)
    assert not silence.hear(1)
    assert not silence.lose(SILENCE_MS)
    assert not silence.rebuild(10 * SILENCE_MS), "only what is lost"
    assert (silence.lose(SILENCE_MS + 1), silence.lost) == (True, True)
    assert not silence.lose(SILENCE_MS + 2), "told already"
    assert (silence.hear(SILENCE_MS + 3), silence.lost) == (True, False)
    assert not silence.hear(SILENCE_MS + 4)


def test_it_is_connected_to_anew_ever_more_rarely_and_at_once_the_next_time() -> None:
    silence, at = Silence(0), list[int]()
    for now_ms in range(0, 30 * SILENCE_MS, 100):
        silence.lose(now_ms)
        if silence.rebuild(now_ms):
            at.append(now_ms)
    assert [later - sooner for sooner, later in pairwise(at)] == [
        SILENCE_MS,
        2 * SILENCE_MS,
        4 * SILENCE_MS,
        8 * SILENCE_MS,
        REBUILD_MAX_MS,
    ]
    assert at[0] == SILENCE_MS
    silence.hear(now_ms)
    assert silence.lose(now_ms + SILENCE_MS)
    assert silence.rebuild(now_ms + SILENCE_MS)
    assert not silence.rebuild(now_ms + 2 * SILENCE_MS - 1)
    assert silence.rebuild(now_ms + 2 * SILENCE_MS)
