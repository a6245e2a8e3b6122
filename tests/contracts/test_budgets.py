"""Conventions a linter does not know: sizes, names, numbers, and messages that show a value.

An exception needs a line in EXCEPTIONS with its reason; a line that is no longer needed fails too.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

import janusflow.config.errors as errors

ROOT = Path(__file__).parents[2]
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_MEDIAN_LINES = 350, 60, 140

BANNED_MODULES = re.compile(r"^_?(utils?|helpers?|misc|common|managers?)$")
BANNED_NAMES = re.compile(r"^(x0|x1|z0|utils?|helpers?|und_\w+|\w+_enc|\w+_dec)$")
# Sizes of the released model and the scale of its time: config fields or named constants only.
PAPER_NUMBERS = {576, 577, 578, 1000, 2048}

OUR_ERRORS = {name for name, value in vars(errors).items() if isinstance(value, type)}

EXCEPTIONS: dict[str, str] = {
    "janusflow/model/configuration.py: get_text_config": "transformers calls it by this name",
    "janusflow/model/text_generation.py: get_input_embeddings": "transformers' name",
    "janusflow/model/text_generation.py: get_output_embeddings": "transformers' name",
    "janusflow/model/text_generation.py: get_decoder": "transformers' name",
    "janusflow/model/configuration.py: get_config_dict": "transformers calls it by this name",
    "janusflow/processing/processor_files.py: _get_arguments_from_pretrained": "likewise",
    "janusflow/processing/processor.py: _get_num_multimodal_tokens": "vLLM calls it by this name",
}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


PACKAGE = sources("janusflow")
EVERYTHING = sources(
    "janusflow", "tests", "recipes", "benchmarks", "examples", "integrations", "deploy"
)
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in EVERYTHING}


def num_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def first_line(path: Path, function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Where a function's length is counted from: a subcommand's options and help are no code."""
    is_subcommand = function.name == "command" and path.parent.name == "cli"
    return function.body[1].lineno if is_subcommand else function.lineno


def names(path: Path) -> Iterator[str]:
    """Every name a file gives: variables, arguments, functions, classes, fields."""
    for node in ast.walk(TREES[path]):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                yield name


def is_without_value(error: ast.expr | None) -> bool:
    """Whether one of our errors is raised with a message that shows no value.

    A value is filled in; or written out, as name=value or name: null, where only one leads there.
    """
    match error:
        case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(text)), *_]):
            return name in OUR_ERRORS and not re.search(r"\w(=|: (?=null|\d))\w", text)
        case ast.Call(func=ast.Name(id=name), args=[]) if name in OUR_ERRORS:
            return True
        case ast.Call(func=ast.Name(id=name), args=[ast.JoinedStr(values=parts), *_]):
            filled = any(isinstance(part, ast.FormattedValue) for part in parts)
            return name in OUR_ERRORS and not filled
        case ast.Name(id=name):
            return name in OUR_ERRORS
    return False


def long_files() -> list[str]:
    return [name_of(path) for path in EVERYTHING if num_lines(path) > MAX_FILE_LINES]


def long_functions() -> list[str]:
    return [
        f"{name_of(path)}: {function.name}"
        for path in EVERYTHING
        for function in functions(path)
        if (function.end_lineno or 0) - first_line(path, function) >= MAX_FUNCTION_LINES
    ]


def modules_without_docstring() -> list[str]:
    return [name_of(path) for path in EVERYTHING if not ast.get_docstring(TREES[path])]


def prints_outside_the_command_line() -> list[str]:
    return [
        f"{name_of(path)}: line {node.lineno}"
        for path in PACKAGE
        if "cli" not in path.relative_to(ROOT).parts
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id == "print"
    ]


def banned_names() -> list[str]:
    modules = [name_of(path) for path in EVERYTHING if BANNED_MODULES.match(path.stem)]
    given = [
        f"{name_of(path)}: {name}"
        for path in PACKAGE
        for name in names(path)
        if BANNED_NAMES.match(name)
    ]
    getters = [
        f"{name_of(path)}: {function.name}"
        for path in PACKAGE
        for function in functions(path)
        if function.name.startswith(("get_", "_get_"))
    ]
    return modules + given + getters


def numbers_from_the_paper() -> list[str]:
    """Those inside functions; a default of a field or a constant of a module has a name."""
    return [
        f"{name_of(path)}: {node.value}"
        for path in PACKAGE
        for function in functions(path)
        for statement in function.body
        for node in ast.walk(statement)
        if isinstance(node, ast.Constant) and not isinstance(node.value, str | bytes | bool)
        if node.value in PAPER_NUMBERS
    ]


def errors_without_a_value() -> list[str]:
    return [
        f"{name_of(path)}: {function.name} (line {node.lineno})"
        for path in PACKAGE
        for function in functions(path)
        for node in ast.walk(function)
        if isinstance(node, ast.Raise) and is_without_value(node.exc)
    ]


def without_line(offender: str) -> str:
    """Exceptions name a function: its line moves."""
    return offender.partition(" (line")[0]


CHECKS = {
    f"files have at most {MAX_FILE_LINES} lines": long_files,
    f"functions have at most {MAX_FUNCTION_LINES} lines": long_functions,
    "every module opens with its contract": modules_without_docstring,
    "only the command line prints": prints_outside_the_command_line,
    "names are the paper's words in full, functions are verbs without get_": banned_names,
    "numbers of the released model are config fields or named constants": numbers_from_the_paper,
    "our errors show the value they complain about": errors_without_a_value,
}


@pytest.mark.parametrize("claim", CHECKS)
def test_convention_holds(claim: str):
    offenders = [
        offender for offender in CHECKS[claim]() if without_line(offender) not in EXCEPTIONS
    ]
    assert not offenders, f"{claim}, but: {', '.join(offenders)}"


def test_half_of_the_files_are_short():
    sizes = [num_lines(path) for path in PACKAGE]
    assert median(sizes) <= MAX_MEDIAN_LINES


def test_every_exception_is_still_needed():
    offenders = {without_line(offender) for check in CHECKS.values() for offender in check()}
    assert not set(EXCEPTIONS) - offenders


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('raise ConfigError("no.")', True),
        ("raise ConfigError()", True),
        ("raise ConfigError", True),
        ('raise ConfigError(f"no.")', True),
        ('raise ConfigError(f"steps={steps}: no.")', False),
        ('raise ConfigError("numerics=parity with solver=dopri5: no.")', False),
        ("raise ConfigError(message)", False),
        ('raise ValueError("no.")', False),
    ],
)
def test_an_error_without_a_value_is_found(source: str, expected: bool):
    (statement,) = ast.parse(source).body
    assert isinstance(statement, ast.Raise)
    assert is_without_value(statement.exc) is expected
