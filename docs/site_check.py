"""Looks through a built site: it loads nothing from the network, and its own links and pictures exist.

python docs/site_check.py .site/html
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "link": "href",
}
NOT_LOADED = {"canonical", "next", "prev", "search", "index", "author", "copyright"}
"""Kinds of <link> that a browser does not follow by itself."""


class Page(HTMLParser):
    """What one page loads, where it leads, and the places in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Of every element: its address, its place."""
        given = {name: value for name, value in attrs if value}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.leads.append(given["href"])
        address = given.get(LOADED.get(tag, ""))
        if address and not (tag == "link" and given.get("rel") in NOT_LOADED):
            self.loads.append(address)


@cache
def parsed(path: Path) -> Page:
    """The page of a file."""
    return Page(path.read_text(encoding="utf-8"))


def is_remote(address: str) -> bool:
    """Whether an address is on the network."""
    return bool(re.match(r"(https?:)?//", address))


def page_faults(path: Path) -> Iterator[str]:
    """Of one HTML file."""
    page = parsed(path)
    for address in page.loads:
        if is_remote(address):
            yield f"loads {address}"
    for address in [*page.loads, *page.leads]:
        if is_remote(address) or re.match(r"[a-z]+:", address):
            continue
        name, place = urldefrag(address)
        target = path.parent / unquote(name.partition("?")[0]) if name else path
        if not target.exists():
            yield f"{address} does not exist"
        elif place and target.suffix == ".html" and unquote(place) not in parsed(target).places:
            yield f"{address} has no such place"


def style_faults(path: Path) -> Iterator[str]:
    """Of one style sheet."""
    text = path.read_text(encoding="utf-8")
    for address in re.findall(r"(?:url\(\s*|@import\s+)[\"']?(?!url\()([^\"')\s;]+)", text):
        if is_remote(address):
            yield f"loads {address}"


def faults(folder: Path) -> list[str]:
    """Lines "file: what is wrong" of all pages and style sheets below a folder."""
    kinds = {"*.html": page_faults, "*.css": style_faults}
    return [
        f"{path.relative_to(folder).as_posix()}: {fault}"
        for pattern, found in kinds.items()
        for path in sorted(folder.rglob(pattern))
        for fault in dict.fromkeys(found(path))
    ]


def main() -> None:
    """Print the faults; exit code 1 where there are any."""
    folder = Path(sys.argv[1])
    found = faults(folder)
    print(
        "\n".join(found)
        or f"{sum(1 for _ in folder.rglob('*.html'))} pages: links lead somewhere, nothing is fetched"
    )
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
