"""A browser that has a page is sent only the rows that differ."""

import html
import re

from hypothesis import given
from hypothesis import strategies as st

from ui.pages.changed_rows import rendering


def table(*rows: str) -> str:
    head = "<main><p>a</p><table><thead><tr><th>x</th></tr></thead>"
    return f"{head}<tbody>{''.join(rows)}</tbody></table></main>"


def row(key: str, cells: str) -> str:
    return f'<tr role="row" data-key="{html.escape(key)}" class="x"><td>{cells}</td></tr>'


def stub(key: str) -> str:
    return f'<tr data-key="{html.escape(key)}" data-same></tr>'


def test_an_unchanged_row_is_a_stub_and_a_changed_one_is_whole() -> None:
    had = rendering(table(row("a", "1"), row("b", "2"))).digests()

    now = rendering(table(row("c", "0"), row("b", "3"), row("a", "1")))

    assert now.without(had) == table(row("c", "0"), row("b", "3"), stub("a"))


def test_text_that_changes_with_time_alone_does_not_change_a_row() -> None:
    def page(age: str, when: str, at: int = 5) -> str:
        cells = f'<b data-age="{at}" data-word="stale">{age}</b><i data-until="9" title="t">{when}</i>'
        return table(row("a", cells))

    had = rendering(page("7 s", "in 3 s")).digests()

    assert rendering(page("stale 8 s", "1 s ago")).without(had) == table(stub("a"))
    assert rendering(page("7 s", "in 3 s", at=6)).without(had) == page("7 s", "in 3 s", at=6)


def test_nested_rows_are_part_of_the_outer_row() -> None:
    inner = f"<table><tbody>{row('leg', '1')}{row('leg2', '2')}</tbody></table>"
    had = rendering(table(row("a", inner), row("b", "x"))).digests()

    assert rendering(table(row("a", inner), row("b", "x"))).without(had) == table(stub("a"), stub("b"))
    other = inner.replace("2</td>", "3</td>")
    assert rendering(table(row("a", other), row("b", "x"))).without(had) == table(row("a", other), stub("b"))


def test_rows_with_the_same_key_are_never_stubs() -> None:
    page = rendering(table(row("a", "1"), row("a", "1")))

    assert page.without(page.digests()) == page.text


def test_the_same_key_in_another_table_is_a_different_row() -> None:
    had = rendering(table(row("a", "1")) + table(row("a", "2"))).digests()
    page = table(row("a", "2")) + table(row("a", "2"))

    assert rendering(page).without(had) == table(row("a", "2")) + table(stub("a"))


texts = st.dictionaries(st.text('ab<"&>\n', min_size=1, max_size=3), st.text(max_size=4), max_size=6)


@given(texts, texts)
def test_stubs_filled_in_from_the_old_page_give_the_new_page(
    before: dict[str, str], after: dict[str, str]
) -> None:
    def page(rows: dict[str, str]) -> str:
        return table(*(row(key, html.escape(text)) for key, text in rows.items()))

    sent = rendering(page(after)).without(rendering(page(before)).digests())

    had = {html.escape(key): row(key, html.escape(text)) for key, text in before.items()}
    whole = re.sub(r'<tr data-key="([^"]*)" data-same></tr>', lambda same: had[same[1]], sent)
    assert whole == page(after)
