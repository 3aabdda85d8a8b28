"""The house rules that no linter knows: sizes, names, and words that must not stay."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIBRARY = sorted((ROOT / "ploutos").rglob("*.py"))
FLOWS = sorted((ROOT / "flows").rglob("*.py"))
DEPLOYMENTS = sorted((ROOT / "deployments").rglob("*.py"))
SOURCES = [*LIBRARY, *FLOWS, *DEPLOYMENTS]
TESTS = sorted((ROOT / "tests").rglob("*.py"))

FILE_LINES = 400
FUNCTION_LINES = 60
FLOW_LINES = 40
VAGUE_NAMES = {"manager", "helper", "helpers", "utils", "util", "common", "misc", "handler"}


def name_of(path: Path) -> str:
    """Name a file in a failure."""
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def comments(path: Path) -> Iterator[tokenize.TokenInfo]:
    """Yield every comment of a file."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT:
            yield token


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function's body without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (body[-1].end_lineno - body[0].lineno + 1) if body else 0


def is_flow(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether a function carries the decorator `flow`."""
    return any("flow" in ast.unparse(one).split("(")[0].split(".") for one in node.decorator_list)


def test_no_file_has_more_than_400_lines():
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in [*SOURCES, *TESTS]}
    assert {name: length for name, length in lengths.items() if length > FILE_LINES} == {}


def test_no_function_has_more_than_60_lines():
    lengths = {
        f"{name_of(path)}:{node.name}": lines_of(node)
        for path in SOURCES
        for node in functions(path)
    }
    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES} == {}


def test_no_flow_body_has_more_than_40_lines():
    lengths = {
        node.name: lines_of(node) for path in FLOWS for node in functions(path) if is_flow(node)
    }
    assert {name: length for name, length in lengths.items() if length > FLOW_LINES} == {}


def test_every_stage_has_its_flow():
    names = {node.name for path in FLOWS for node in functions(path) if is_flow(node)}
    assert names == {"ingest", "prepare", "train", "validate", "paper", "replay", "pipeline"}


def test_nothing_has_a_vague_name():
    parts = {name_of(path): set(Path(name_of(path)).with_suffix("").parts) for path in SOURCES}
    assert [name for name, found in parts.items() if found & VAGUE_NAMES] == []


def test_input_is_refused_by_raise_and_never_by_assert():
    asserts = [
        f"{name_of(path)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert asserts == []


def test_no_comment_promises_later_work():
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")
    promises = [
        f"{name_of(path)}:{comment.start[0]}"
        for path in [*SOURCES, *TESTS]
        for comment in comments(path)
        if any(mark in comment.string for mark in marks)
    ]
    assert promises == []


def test_nothing_is_left_to_implement():
    unfinished = "NotImplemented" + "Error"
    assert [name_of(path) for path in SOURCES if unfinished in path.read_text()] == []


def test_every_module_says_what_comes_in_and_what_goes_out():
    silent = [
        name_of(path)
        for path in SOURCES
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []
