"""What a setting says of a strategy or source: read, refused, and read again."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader.extensions.spec import Spec, parse

FOLDER = Path("/home/me")


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("value", Spec("value", None, {})),
        (" value() ", Spec("value", None, {})),
        ("my-own.one", Spec("my-own.one", None, {})),
        ("/a/mine.py:Mine", Spec("Mine", Path("/a/mine.py"), {})),
        ("mine.py:Mine(a=1)", Spec("Mine", Path("/home/me/mine.py"), {"a": 1})),
        ("/a (b)/m.py:M(x=-1.5, y='a,)b', z=[(1, None)])", Spec("M", Path("/a (b)/m.py"), {
            "x": -1.5, "y": "a,)b", "z": [(1, None)],
        })),
    ],
)  # fmt: skip
def test_a_text_says_what_to_load(text: str, spec: Spec) -> None:
    assert parse(text, FOLDER) == spec
    assert parse(spec.text, Path("/elsewhere")) == spec


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a name"),
        ("two words", "expected a name"),
        ("/a/mine.txt:Mine", "expected a name"),
        ("value(", "expected a name"),
        ("value(1)", "expected arguments"),
        ("value(a=1)(b=2)", "expected arguments"),
        ("value(**{'a': 1})", "each name once"),
        ("value(a=1, a=2)", ""),
        ("value(a=open('/etc/passwd'))", "a: got \"open('/etc/passwd')\", expected a plain value"),
        ("value(a=b)", "a: got 'b', expected a plain value"),
        ("value(a=1 if True else 2)", "expected a plain value"),
        ("value(a=__import__('os').system('true'))", "expected a plain value"),
        ("value(a='x)", "expected arguments"),
        ("value(" + "a=[" * 500 + "]" * 500 + ")", "expected arguments"),
        ("value(a=" + "-" * 5_000 + "1)", ""),
        ("x" * 20_000, "expected at most"),
        ("~nobody-here/mine.py:Mine", ""),
        ("K\udcf6nig/mine.py:Mine", "not UTF-8"),
    ],
)
def test_what_says_nothing_of_the_kind_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text, FOLDER)

    assert says in str(caught.value)
    assert "expected" in str(caught.value)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["a", "b_c", "window_s"]), plain))
def test_what_is_written_down_is_read_again(arguments: dict[str, object]) -> None:
    spec = Spec("Mine", Path("/a/mine.py"), arguments)

    assert parse(spec.text, FOLDER) == spec


@given(st.text(alphabet=st.sampled_from("abc_()=,.'\"[]{}:/py 1-\\\n"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        spec = parse(text, FOLDER)
    except ValueError:
        return
    assert parse(spec.text, FOLDER) == spec
