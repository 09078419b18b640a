"""HTML that cannot be broken by its content: every text is escaped unless it is `Html` already."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_VOID = frozenset({"br", "img", "meta"})
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


class Html(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


def escape(value: Any) -> Html:
    """`value` as HTML text, quotes included; control characters, which HTML forbids, become U+FFFD."""
    return value if isinstance(value, Html) else Html(html.escape(_CONTROLS.sub("\ufffd", str(value))))


def join(parts: Iterable[Any], separator: str = "") -> Html:
    """The parts, escaped where they are not HTML, with `separator` (also escaped) between them."""
    return Html(escape(separator).join(escape(part) for part in parts))


def element(tag: str, *children: Any, **attributes: Any) -> Html:
    """One element. A trailing underscore of an attribute's name is dropped and others become hyphens.

    An attribute that is None or False is left out; True stands without a value.
    """
    words = [tag]
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            words.append(name)
        elif value is not None and value is not False:
            words.append(f'{name}="{escape(value)}"')
    start = f"<{' '.join(words)}>"
    return Html(start if tag in _VOID else f"{start}{join(children)}</{tag}>")


def quoted(text: str, longest: int = 160) -> Html:
    """Foreign text in quotation marks, cut to `longest` characters, its writing direction kept to itself."""
    line = " ".join(text.split())
    return element("q", element("bdi", line if len(line) <= longest else f"{line[: longest - 1]}…"))


def bullets(items: Iterable[Any]) -> Html:
    """A list of the items."""
    return element("ul", *(element("li", item) for item in items))


def grid(heads: Sequence[Any], rows: Iterable[Sequence[Any]], caption: str | None = None) -> Html:
    """A table that scrolls sideways on narrow screens; the first cell of a row is its heading."""
    body = [
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest))
        for first, *rest in rows
    ]
    head = element("thead", element("tr", *(element("th", name, scope="col") for name in heads)))
    title = [element("caption", caption)] if caption else []
    return scrolling(element("table", *title, head, element("tbody", *body)))


def scrolling(content: Html) -> Html:
    """Content that scrolls sideways on its own, also by keyboard."""
    return element("div", content, class_="scroll", tabindex="0")


def folded(title: Any, content: Html, *, unfolded: bool = False) -> Html:
    """Content behind its title, shown when the reader opens it."""
    return element("details", element("summary", title), content, open=unfolded)


def interval_strip(value: float, low: float, high: float, reach: float) -> Html:
    """A difference with its interval on a line through 0; `reach` is what the line's ends stand for."""

    def at(points: float) -> str:
        return f"{60 + 56 * points / reach:.1f}"

    zero = element("line", x1="60", x2="60", y1="1", y2="15", class_="zero")
    bar = element("line", x1=at(low), x2=at(high), y1="8", y2="8", class_="bar")
    dot = element("circle", cx=at(value), cy="8", r="3.2", class_="dot" if low > 0 or high < 0 else "dot open")
    return element("svg", zero, bar, dot, viewBox="0 0 120 16", class_="strip", aria_hidden="true")


def data_uri(data: bytes, media_type: str) -> str:
    """The bytes as a `data:` address."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def inline_image(path: str | Path, alt: str) -> Html:
    """The picture in a file, SVG or PNG, as part of the page."""
    path = Path(path)
    return element("img", src=data_uri(path.read_bytes(), _TYPES[path.suffix]), alt=alt)
