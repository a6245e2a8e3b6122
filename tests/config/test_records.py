"""Records from YAML: what fits is taken, what does not is refused in one line that names it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from janusflow.config.errors import ConfigError
from janusflow.config.records import build_record, load_record, read_tree, to_tree


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.5
    steps: int = 3


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    many: tuple[Inner, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)
    folder: Path | None = None
    is_on: bool = False
    kind: Literal["plain", "dots"] = "plain"
    free: dict[str, object] | None = None


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_record(Outer, write(tmp_path, text), overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_fills_nested_records_and_leaves_the_rest_at_its_defaults(tmp_path: Path):
    text = """
        name: one
        inner: {steps: 7}
        many: [{rate: 1}, {}]
        pair: [0.25, 2]
        folder: some/where
        is_on: true
        kind: dots
        free: {a: [1, x], b: {c: 2}}
    """
    record = load_record(Outer, write(tmp_path, text))
    assert record == Outer(
        name="one",
        inner=Inner(steps=7, rate=0.5),
        many=(Inner(rate=1.0), Inner()),
        pair=(0.25, 2.0),
        folder=Path("some/where"),
        is_on=True,
        kind="dots",
        free={"a": [1, "x"], "b": {"c": 2}},
    )
    assert isinstance(record.many[0].rate, float)


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "1E-4", "'1e-4'"])
def test_every_way_to_write_a_number_is_one(tmp_path: Path, text: str):
    """YAML 1.1 reads 1e-4, without a point, as text."""
    record = load_record(Outer, write(tmp_path, f"name: x\ninner: {{rate: {text}}}"))
    assert record.inner.rate == 1e-4


def test_overrides_reach_into_sections_the_last_one_wins(tmp_path: Path):
    path = write(tmp_path, "name: x\ninner: {rate: 2}")
    overrides = ("inner.steps=4", "inner.steps=5", "folder=a=b", "many=[{rate: 1e-3}]", "name=y")
    record = load_record(Outer, path, overrides)
    assert record.inner == Inner(rate=2.0, steps=5)
    assert record.folder == Path("a=b")
    assert record.many == (Inner(rate=1e-3),)
    assert record.name == "y"


def test_overrides_make_sections_that_the_file_lacks(tmp_path: Path):
    record = load_record(Outer, write(tmp_path, "name: x"), ("inner.rate=9", "folder=null"))
    assert (record.inner.rate, record.folder) == (9.0, None)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("inner.steps", "key=value"),
        ("=3", "key=value"),
        ("name.first=3", "name is a value"),
        ("inner.steps=[1", "not valid YAML"),
        ("inner.stepz=1", "did you mean steps?"),
        ("inner.steps=2024-99-99", "not valid YAML"),
    ],
)
def test_an_override_that_does_not_fit_is_refused(tmp_path: Path, override: str, told: str):
    assert told in refusal(tmp_path, "name: x", override)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nam: x", "did you mean name?"),
        ("name: x\ninner: {rte: 1}", "did you mean rate?"),
        ("name: x\nmany: [{}, {setps: 1}]", "did you mean steps?"),
        ("name: x\nqqqqq: 1", "known: name, inner, many, pair, folder, is_on, kind, free."),
        ("name: x\n3: 1", "unknown key 3"),
    ],
)
def test_an_unknown_key_names_its_nearest_neighbour(tmp_path: Path, text: str, told: str):
    assert told in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("inner: {steps: 1.5}", "steps is 1.5: wanted a whole number"),
        ("inner: {steps: 3.0}", "steps is 3.0: wanted a whole number"),
        ("inner: {steps: true}", "steps is True: wanted a whole number"),
        ("inner: {steps: many}", "steps is 'many': wanted a whole number"),
        ("inner: {steps: null}", "steps is None: wanted a whole number"),
        ("inner: {rate: fast}", "rate is 'fast': wanted a number"),
        ("inner: {rate: true}", "rate is True: wanted a number"),
        ("inner: {rate: [1]}", "rate is [1]: wanted a number"),
        ("inner: {rate: null}", "rate is None: wanted a number"),
        ("inner: 3", "inner is 3: wanted a section"),
        ("inner:", "inner is None: wanted a section"),
        ("many: {rate: 1}", "wanted a list"),
        ("many: [1]", "wanted a section"),
        ("pair: [1]", "wanted 2 items"),
        ("folder: 3", "folder is 3: wanted a path"),
        ("is_on: 1", "is_on is 1: wanted true or false"),
        ("kind: stars", "kind is 'stars': wanted one of plain, dots"),
        ("free: [1]", "free is [1]: wanted a section"),
        ("name: 3", "name is 3: wanted text"),
    ],
)
def test_a_value_of_another_type_is_refused(tmp_path: Path, text: str, told: str):
    prefix = "" if text.startswith("name") else "name: x\n"
    assert told in refusal(tmp_path, prefix + text)


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "lacks name"), ("- 1", "holds a list"), ("a: [", "not valid YAML"), ("7", "holds a int")],
)
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, text: str, told: str):
    assert told in refusal(tmp_path, text)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no recipe at .*nosuch\.yaml"):
        read_tree(tmp_path / "nosuch.yaml")
    (tmp_path / "model.bin").write_bytes(b"\xff\xfe\x00PK")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_tree(tmp_path / "model.bin")


def test_refusals_say_where(tmp_path: Path):
    message = refusal(tmp_path, "name: x\ninner: {steps: 1.5}")
    assert message.startswith(f"{tmp_path / 'recipe.yaml'}: inner: steps is")


@pytest.mark.parametrize(
    "record",
    [
        Outer(name="x"),
        Outer(name="한글", many=(Inner(rate=1e-7), Inner(steps=0)), folder=Path("a/b")),
        Outer(name="1e-4", pair=(1e30, -0.1), free={"a": {"b": [1, None, "yes"]}}, is_on=True),
    ],
)
def test_a_record_survives_a_file(record: Any):
    text = yaml.safe_dump(to_tree(record), allow_unicode=True)
    assert build_record(Outer, yaml.safe_load(text), where="text") == record


# ---- files that extend others -------------------------------------------------------------------


def write_all(tmp_path: Path, **texts: str) -> Path:
    """Files of these names; returns the first."""
    for name, text in texts.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / f"{next(iter(texts))}.yaml"


def test_a_file_says_what_differs_from_the_one_it_extends(tmp_path: Path):
    """Sections key by key, however deep; lists and values whole; overrides last."""
    path = write_all(
        tmp_path,
        third="extends: second.yaml\ninner: {steps: 9}\nfree: {a: {c: 5}}",
        second="extends: first.yaml\nname: second\nmany: [{rate: 7}]\nfree: {a: {b: [3]}}",
        first="name: first\ninner: {rate: 2, steps: 1}\nmany: [{}, {}]\nfree: {a: {b: [1, 2]}}",
    )
    assert load_record(Outer, path, ("inner.rate=4",)) == Outer(
        name="second",
        inner=Inner(rate=4.0, steps=9),
        many=(Inner(rate=7.0),),
        free={"a": {"b": [3], "c": 5}},
    )
    assert read_tree(tmp_path / "first.yaml")["free"] == {"a": {"b": [1, 2]}}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("free: {b: 1}", {"a": 1, "b": 1}),
        ("free: {}", {"a": 1}),
        ("free: null", None),
        ("pair: [1, 2]", {"a": 1}),
    ],
)
def test_a_section_is_replaced_only_by_what_is_none(tmp_path: Path, changed: str, expected: Any):
    path = write_all(tmp_path, new=f"extends: old.yaml\n{changed}", old="name: x\nfree: {a: 1}")
    assert load_record(Outer, path).free == expected


def test_what_is_extended_is_looked_for_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_all(tmp_path, base="name: x")
    path = write_all(tmp_path / "deeper", new="extends: ../base.yaml")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_record(Outer, path).name == "x"


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ({"a": "extends: a.yaml"}, "a.yaml -> {0}/a.yaml: a recipe cannot extend itself"),
        (
            {"a": "extends: b.yaml", "b": "extends: c.yaml", "c": "extends: ../{1}/b.yaml"},
            "a.yaml -> {0}/b.yaml -> {0}/c.yaml -> {0}/../{1}/b.yaml: a recipe cannot",
        ),
        ({"a": "extends: b.yaml"}, "extends is b.yaml, but there is no file {0}/b.yaml"),
        ({"a": "extends: ."}, "extends is ., but there is no file {0}"),
        ({"a": "extends: [b.yaml]"}, "extends is ['b.yaml']: wanted the path of one recipe"),
        ({"a": "extends:"}, "extends is None: wanted the path of one recipe"),
        ({"a": "extends: b.yaml", "b": "- 1"}, "{0}/b.yaml holds a list"),
        ({"a": "extends: b.yaml", "b": "nam: x"}, "unknown key 'nam' in {0}/a.yaml"),
    ],
)
def test_what_cannot_be_extended_is_refused_in_one_line(
    tmp_path: Path, texts: dict[str, str], told: str
):
    names = (str(tmp_path), tmp_path.name)
    path = write_all(tmp_path, **{name: text.format(*names) for name, text in texts.items()})
    with pytest.raises(ConfigError) as caught:
        load_record(Outer, path)
    assert told.format(*names) in str(caught.value)
    assert "\n" not in str(caught.value)
