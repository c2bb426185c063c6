"""The tests themselves: where they lie, what they import, and that each has a name of its own."""

import ast
from collections import Counter
from functools import cache

from processes import ROOT

TESTS = ROOT / "tests"
FOLDERS = {"api", "values", "kernels", "runtime"}
MODULES = sorted(TESTS.rglob("test_*.py"))


@cache
def nodes(path):
    return list(ast.walk(ast.parse(path.read_text())))


def test_no_two_tests_have_one_name():
    functions = (node for path in MODULES for node in nodes(path) if isinstance(node, ast.FunctionDef))
    count = Counter(node.name for node in functions if node.name.startswith("test_"))
    assert [name for name, times in count.items() if times > 1] == []


def test_no_test_module_imports_another():
    imported = set()
    for path in TESTS.rglob("*.py"):
        for node in nodes(path):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                imported |= {(path.stem, name.split(".")[-1]) for name in names}
    assert [pair for pair in imported if pair[1] in {path.stem for path in MODULES}] == []


def test_every_test_file_lies_in_one_of_the_folders():
    assert [path for path in MODULES if path.parent not in {TESTS / folder for folder in FOLDERS}] == []


def test_modules_have_names_of_their_own():
    """They are imported by name alone, from folders that are all on the path."""
    count = Counter(path.stem for path in TESTS.rglob("*.py"))
    assert [name for name, times in count.items() if times > 1] == []
