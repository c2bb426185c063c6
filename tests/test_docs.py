"""The examples of the documents and of the public docstrings print what they say, on each instruction set."""

import doctest
import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import csoftmax

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FUNCTIONS = [name for name in csoftmax.__all__ if callable(getattr(csoftmax, name))]


def run_examples(text, name, csm, monkeypatch):
    """Run the `>>>` examples of `text` in one namespace, `csm` being csoftmax; return how many there are."""
    monkeypatch.setitem(sys.modules, "csoftmax", csm)
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    report, threads = [], csm.get_num_threads()
    with np.printoptions():
        result = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    csm.set_num_threads(threads)
    assert result.failed == 0, "".join(report)
    return result.attempted


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages(page, csm, monkeypatch):
    fences_blanked = re.sub(r"^```.*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    run_examples(fences_blanked, page.name, csm, monkeypatch)


@pytest.mark.parametrize("page", ["README.md", "docs/derivation.md"])
def test_pages_that_teach_have_examples(page):
    assert doctest.DocTestParser().get_examples((ROOT / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstrings(name, csm, monkeypatch):
    assert run_examples(inspect.getdoc(getattr(csm, name)), name, csm, monkeypatch) > 0
