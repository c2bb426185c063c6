"""Links of the site: files outside docs/ that are linked to become pages, if Markdown, or are offered for download.

The links in the pages are those that GitHub needs. They are rewritten as a page is read, and never in the sources.
"""

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FRONT = ROOT / "README.md"
"""The front page has its text."""
COPIED = [
    ROOT / name
    for name in (
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "bench/README.md",
        "csoftmax/core/vec/README.md",
        "csoftmax/data/README.md",
    )
]
MARK = "<!-- README.md -->\n"
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def page_of(path):
    """Where the site has a file of the repository."""
    if path == FRONT:
        return DOCS / "index.md"
    return DOCS / "generated" / path.relative_to(ROOT) if path in COPIED else path


def origin_of(page):
    """The file of the repository whose text a page has; the opposite of `page_of`, but for the front page."""
    return {page_of(path): path for path in COPIED}.get(page, page)


def relinked(text, origin, page):
    """The text of the file `origin`, whose links are to work in the page `page`."""

    def change(link):
        words, target, anchor = link[1], link[2], link[3] or ""
        path = Path(os.path.normpath(origin.parent / target))
        if path.is_dir():  # which a site has no page for
            return words
        return f"[{words}]({os.path.relpath(page_of(path), page.parent)}{anchor})" if path.exists() else link[0]

    return LINK.sub(change, text)


def copy(app):
    for origin in COPIED:
        page = page_of(origin)
        page.parent.mkdir(parents=True, exist_ok=True)
        if not page.exists() or page.read_bytes() != origin.read_bytes():
            page.write_bytes(origin.read_bytes())


def read(app, docname, source):
    page = Path(app.env.doc2path(docname))
    if page.suffix == ".md":
        before, mark, after = relinked(source[0], origin_of(page), page).partition(MARK)
        source[0] = before + (mark and relinked(FRONT.read_text(encoding="utf-8"), FRONT, page)) + after


def depend(app, docname, *_):
    """The front page is read again if README.md has changed."""
    if docname == "index":
        app.env.note_dependency(str(FRONT), docname=docname)


def link_pages(app, what, name, obj, options, lines):
    """Docstrings name pages as files, docs/derivation.md: on the site these are links."""
    lines[:] = [re.sub(r"\bdocs/(\w+)\.md", r":doc:`/\1`", line) for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", link_pages)
    app.connect("builder-inited", copy)
    app.connect("source-read", read)
    app.connect("source-read", depend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
