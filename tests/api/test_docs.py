"""The examples of the documents and of the public docstrings print what they say, on each instruction set."""

import ast
import doctest
import importlib.util
import inspect
import re
import sys

import numpy as np
import pytest
from processes import ROOT

import csoftmax
from csoftmax import boosting, special

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FUNCTIONS = [name for name in csoftmax.__all__ if callable(getattr(csoftmax, name))]
OPTIONAL = [(module, name) for module in (boosting, special) for name in module.__all__]


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


def runnable(text):
    """A page without its fences, and without the sections that import what is not installed."""
    sections = re.split(r"^(?=## )", re.sub(r"^```.*$", "", text, flags=re.MULTILINE), flags=re.MULTILINE)
    imported = [re.findall(r"^>>> import (\w+)", section, flags=re.MULTILINE) for section in sections]
    return "".join(
        section for section, names in zip(sections, imported, strict=True) if all(map(importlib.util.find_spec, names))
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages(page, csm, monkeypatch):
    run_examples(runnable(page.read_text(encoding="utf-8")), page.name, csm, monkeypatch)


def test_sections_that_cannot_run_are_left_out():
    page = "# A\n```pycon\n>>> import re\n```\n## B\n>>> import no_such_module\n>>> 1\n2\n## C\n>>> 3\n3\n"
    assert runnable(page) == "# A\n\n>>> import re\n\n## C\n>>> 3\n3\n"


@pytest.mark.parametrize(
    "page",
    ["README.md", *(f"docs/{name}.md" for name in ("derivation", "derivatives", "losses", "boosting"))],
)
def test_pages_that_teach_have_examples(page):
    assert doctest.DocTestParser().get_examples((ROOT / page).read_text(encoding="utf-8"))


def public_names(path):
    """`__all__` of a module, which need not be importable here."""
    (names,) = [
        ast.literal_eval(node.value)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
    ]
    return set(names)


def test_the_reference_has_every_public_name():
    parts = re.split(r"currentmodule:: (\S+)", (ROOT / "docs/api.md").read_text(encoding="utf-8"))[1:]
    listed = {}
    for module, part in zip(parts[::2], parts[1::2], strict=True):
        listed.setdefault(module, set()).update(re.findall(r"^   (\w+)$", part, flags=re.MULTILINE))
    files = {"csoftmax": "__init__", **{f"csoftmax.{name}": name for name in ("boosting", "dask", "special", "torch")}}
    assert listed == {module: public_names(ROOT / "csoftmax" / f"{name}.py") for module, name in files.items()}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstrings(name, csm, monkeypatch):
    assert run_examples(inspect.getdoc(getattr(csm, name)), name, csm, monkeypatch) > 0


@pytest.mark.parametrize("module, name", OPTIONAL)
def test_docstrings_of_optional_modules(module, name, monkeypatch):
    assert run_examples(inspect.getdoc(getattr(module, name)), name, csoftmax, monkeypatch) > 0
