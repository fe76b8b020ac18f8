"""Refuse built pages that load anything from elsewhere: `python docs/_make/offline.py site`.

A link that a reader may follow is no load; a script, a style, a font or a picture is.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "object": "data",
}
LINKS = {"stylesheet", "preload", "modulepreload", "preconnect", "dns-prefetch", "icon", "manifest"}
REMOTE = re.compile(r"(?:https?:)?//")
IN_STYLE = re.compile(r"(?:url\(|@import\s)\s*['\"]?((?:https?:)?//[^'\")\s]+)")


class Loads(HTMLParser):
    """Gathers what a page loads from elsewhere, in ``found``."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(  # noqa: D102 (the signature is the library's)
        self, tag: str, attrs: list[tuple[str, str | None]]
    ) -> None:
        values = {name: value or "" for name, value in attrs}
        address = values.get(LOADS.get(tag, ""), "")
        if tag == "link" and LINKS & set(values.get("rel", "").split()):
            address = values.get("href", "")
        for each in (address, values.get("srcset", "")):
            if REMOTE.match(each):
                self.found.append(each)
        self.found += IN_STYLE.findall(values.get("style", ""))

    def handle_data(self, data: str) -> None:  # noqa: D102 (the signature is the library's)
        if self.cdata_elem == "style":
            self.found += IN_STYLE.findall(data)


def remote(site: Path) -> list[str]:
    """Name what the pages and styles of a site load from elsewhere, with the file that does.

    Parameters
    ----------
    site : Path
        The built pages.
    """
    found = []
    for file in sorted(site.rglob("*.html")):
        page = Loads()
        page.feed(file.read_text(encoding="utf-8"))
        found += [f"{file.relative_to(site)}: {address}" for address in page.found]
    for file in sorted(site.rglob("*.css")):
        addresses = IN_STYLE.findall(file.read_text(encoding="utf-8"))
        found += [f"{file.relative_to(site)}: {address}" for address in addresses]
    return found


if __name__ == "__main__":
    if found := remote(Path(sys.argv[1])):
        sys.exit("loaded from elsewhere: " + "; ".join(found[:10]))
