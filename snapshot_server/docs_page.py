"""`/docs`: the OpenAPI document as one readable page, made here, without scripts or foreign content."""

from collections.abc import Iterator
from functools import cache
from html import escape
from typing import Any, Final

from . import openapi

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;"
    "background:#fff}h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.5rem}h3{font:600 1rem ui-monospace,"
    "monospace;margin:1.8rem 0 .3rem;overflow-wrap:anywhere}table{border-collapse:collapse;margin:.4rem 0}"
    "td,th{text-align:left;vertical-align:top;padding:.15rem .9rem .15rem 0;border-bottom:1px solid #ddd}"
    "code{font-family:ui-monospace,monospace;overflow-wrap:anywhere}a{color:#0b57d0}@media(prefers-color-scheme:dark){body{"
    "color:#e6e6e6;background:#161616}td,th{border-color:#444}a{color:#8ab4f8}}@media(max-width:40rem){thead{"
    "display:none}tr{display:block;padding:.3rem 0}td{display:block;border:0;padding:0}}"
)


@cache
def page() -> bytes:
    """Return the page."""
    return "".join(_lines()).encode()


def _lines() -> Iterator[str]:
    document = openapi.document()
    info = document["info"]
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width='
        f'device-width"><title>{escape(info["title"])}</title><style>{_STYLE}</style></head><body><main>'
        f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])}</p>"
        '<p><a href="/openapi.json">/openapi.json</a> is the same for programs. Kalshi\'s WebSocket is at '
        "<code>/trade-api/ws/v2</code>.</p>"
    )
    section = None
    for path, operations in document["paths"].items():
        operation = operations["get"]
        named = (operation.get("tags") or ["This server's own"])[0]
        if named != section:
            section = named
            yield f"<h2>{escape(section)}</h2>"
        yield f"<h3>GET {escape(path)}</h3><p>{escape(operation['summary'])}</p>"
        yield from _table("parameter", operation.get("parameters", ()), _parameter)
        yield from _table("answer", tuple(operation["responses"].items()), _answer)
    yield "<h2>Objects</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{escape(schema.get("description", ""))}</p>'
        yield from _table("member", tuple(schema.get("properties", {}).items()), _member)
    yield "</main></body></html>"


def _table(head: str, rows: Any, cells: Any) -> Iterator[str]:
    if rows:
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells(row))}</tr>" for row in rows)
        yield f'<table><thead><tr><th scope="col">{head}</th><th scope="col">what</th><th scope="col"></th>'
        yield f"</tr></thead><tbody>{body}</tbody></table>"


def _parameter(parameter: dict[str, Any]) -> tuple[str, str, str]:
    kind = _kind(parameter["schema"]) + (", required" if parameter["required"] else "")
    return f"<code>{escape(parameter['name'])}</code>", kind, escape(parameter.get("description", ""))


def _answer(answer: tuple[str, dict[str, Any]]) -> tuple[str, str, str]:
    status, response = answer
    kinds = [_kind(content["schema"]) for content in response.get("content", {}).values()]
    return f"<code>{escape(status)}</code>", ", ".join(kinds), escape(response["description"])


def _member(member: tuple[str, dict[str, Any]]) -> tuple[str, str, str]:
    name, schema = member
    return f"<code>{escape(name)}</code>", _kind(schema), escape(schema.get("description", ""))


def _kind(schema: dict[str, Any]) -> str:
    """Describe the possible values in a few words."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "enum" in schema:
        return escape(", ".join(map(str, schema["enum"])))
    kind = schema.get("type", "anything")
    text = escape(" or ".join(kind) if isinstance(kind, list) else kind)
    if schema.get("type") == "array":
        text += f" of {_kind(schema.get('items', {}))}"
    if "minimum" in schema or "maximum" in schema:
        text += f" {schema.get('minimum', '')} to {schema.get('maximum', '')}"
    return text
