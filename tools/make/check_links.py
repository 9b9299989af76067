"""Check the links within a built site: each page, picture and heading that is linked to exists.

python tools/make/check_links.py docs/_build/html
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Links(HTMLParser):
    """Collect the addresses that a page links to, and the anchors that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: set[str] = set()
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Read a tag."""
        values = dict(attrs)
        self.addresses |= {value for name in ("href", "src") if (value := values.get(name))}
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}


@cache
def links(page: Path) -> Links:
    """Read a page."""
    parser = Links()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def broken(page: Path) -> Iterator[str]:
    """Yield the addresses on a page that lead nowhere; those of other sites are not looked up."""
    for address in sorted(links(page).addresses):
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        anchor = unquote(parts.fragment)
        lost = anchor and target.suffix == ".html" and target.exists() and anchor not in links(target).anchors
        if not target.exists() or lost:
            yield address


def main(folder: Path) -> int:
    """Print the broken links of all pages; return 1 if there are any or no pages."""
    pages = sorted(folder.rglob("*.html"))
    found = [(page.relative_to(folder), address) for page in pages for address in broken(page)]
    for page, address in found:
        print(f"{page}: {address} leads nowhere")
    print(f"{len(pages)} pages, {len(found)} broken links")
    return 1 if found or not pages else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
