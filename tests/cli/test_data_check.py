"""`janusflow data check`: recipes and files, text and JSON; exit code 1 if mending is due."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from data_files import write_image, write_json, write_lines
from tiny_stage import stage_tree, write_parts
from typer.testing import CliRunner, Result

from janusflow.cli.main import build_app


def check(*arguments: str | Path) -> Result:
    app = build_app({"data check": "janusflow.cli.data_check"})
    # An app of one group has no name for it to be typed.
    return CliRunner().invoke(app, ["data", "check", "--quiet", *map(str, arguments)])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("parts"))


def recipe(folder: Path, root: Path, **changes: Any) -> Path:
    path = folder / "stage.yaml"
    path.write_text(yaml.safe_dump(stage_tree(root, **changes)), encoding="utf-8")
    return path


def pairs(folder: Path, *names: str) -> str:
    write_image(folder / "images" / "1.png")
    return write_json(folder / "pairs.json", [{"image": each, "caption": "red"} for each in names])


def test_a_good_recipe_is_told_source_by_source(tmp_path: Path, root: Path):
    result = check(recipe(tmp_path, root))
    assert result.exit_code == 0, result.output
    titles = [line.partition(":")[0] for line in result.stdout.splitlines() if line[:1].strip()]
    assert titles == ["understanding", "generation", "text"]
    assert "12, all checked: 12 good, 0 bad" in result.stdout
    assert "a row holds 400" in result.stdout


def test_a_source_that_is_not_there_does_not_hide_the_others(tmp_path: Path, root: Path):
    scenes = {"format": "scenes", "path": str(root / "scenes")}
    gone = {"format": "chat", "path": "no/where.json"}
    mixture = {"ratios": [{"understanding": 1, "generation": 0, "text": 0}]}
    data = {"understanding": [gone, scenes]}
    result = check(recipe(tmp_path, root, data=data, mixture=mixture))
    assert result.exit_code == 1
    assert "not opened  no file no/where.json" in result.stdout
    assert "12 good" in result.stdout
    assert "1 of 2 sources must be mended: no/where.json" in result.stdout


def test_a_share_without_a_source_is_refused_also_if_it_begins_late(tmp_path: Path, root: Path):
    early = {"understanding": 1, "generation": 0, "text": 0, "until": 5}
    late = {"understanding": 1, "generation": 0, "text": 1}
    data = {"understanding": [{"format": "scenes", "path": str(root / "scenes")}]}
    result = check(recipe(tmp_path, root, data=data, mixture={"ratios": [early, late]}))
    assert result.exit_code == 1
    assert "wants text samples" in result.stderr


def test_settings_can_be_changed(tmp_path: Path, root: Path):
    result = check(recipe(tmp_path, root), "mixture.row_tokens=390")
    assert "a row holds 390" in result.stdout


def test_a_file_is_checked_with_mini_as_all_it_can_be(tmp_path: Path):
    path = pairs(tmp_path, "1.png", "2.png", "1.png")
    result = check(path, "--images", tmp_path / "images")
    assert result.exit_code == 1
    assert result.stdout.count("bad row 1: ") == 2
    assert result.stdout.count("1 rows repeat others: 0 = 2") == 2
    assert check(path, "--images", tmp_path / "images", "--kind", "text").exit_code == 1


def test_json_holds_what_the_text_says(tmp_path: Path):
    path = pairs(tmp_path, "1.png", "2.png")
    result = check(path, "--images", tmp_path / "images", "--kind", "generation", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    (source,) = told["sources"]
    assert told["is_refused"]
    assert source["kind"] == "generation"
    assert [bad["row"] for bad in source["bad"]] == [1]
    assert (source["bad_share"], source["max_bad_share"]) == (0.5, 0.01)
    assert source["median_image"] == [40, 20]


def test_another_model_stands_for_one_that_is_not_at_hand(tmp_path: Path, root: Path):
    path = recipe(tmp_path, root, processor="no/processor", start="no/start")
    result = check(path)
    assert result.exit_code == 1
    assert "start" in result.stderr
    assert result.stderr.count("\n") == 1
    assert check(path, "--model", "mini").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["stage.yaml", "--format", "chat"], "leave --format out"),
        (["pairs.json", "loop.steps=3"], "need a recipe"),
        (["pairs.json", "--format", "captoins"], "format 'captoins' is unknown"),
        (["pairs.json", "--kind", "sound"], "kind 'sound' is unknown"),
        (["pairs.json", "--option", "caption"], "wanted name=value"),
        (["scenes.yaml"], "task scenes has no data section"),
        (["nosuch.jsonl"], "no file nosuch.jsonl"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
):
    recipe(tmp_path, root)
    pairs(tmp_path, "1.png")
    (tmp_path / "scenes.yaml").write_text("task: scenes\nrun: run\nnum_scenes: 2\n")
    monkeypatch.chdir(tmp_path)
    result = check(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_former_name_of_a_key_is_refused_with_the_new_one(tmp_path: Path, root: Path):
    data = {"text": [{"format": "text", "path": "t.txt", "pictures": "images"}]}
    result = check(recipe(tmp_path, root, data=data))
    assert result.exit_code == 1
    assert "unknown key 'pictures'" in result.stderr
    assert "did you mean images?" in result.stderr


def test_of_a_stream_the_first_rows_are_checked(tmp_path: Path, root: Path):
    path = write_lines(tmp_path / "t.jsonl", *({"text": word} for word in ("a", " ", "b", "c")))
    text = [{"format": "text", "path": path, "options": {"streaming": True}}]
    mixture = {"ratios": [{"understanding": 0, "generation": 0, "text": 1}], "max_bad_share": 0.5}
    streamed = recipe(tmp_path, root, data={"text": text}, mixture=mixture)
    result = check(streamed, "--limit", 3)
    assert result.exit_code == 0, result.output
    assert result.exit_code == 0, result.output
    assert "rows        streamed, the first 3 checked: 2 good, 1 bad" in result.stdout
    assert f"bad row 1: row 1 of {path}: no text" in result.stdout
    assert "rows        4, all checked: 3 good" in check(streamed).stdout
    result = check(path, "--option", "streaming=true", "--limit", 1)
    assert "rows        streamed, the first 1 checked: 1 good" in result.stdout


def test_a_stream_that_breaks_off_is_told_and_hides_no_other(tmp_path: Path, root: Path):
    for number, content in enumerate(('{"text": "a"}', '{"text": ')):
        (tmp_path / f"{number}.jsonl").write_text(content, encoding="utf-8")
    broken = {"format": "text", "path": f"{tmp_path}/*.jsonl", "options": {"streaming": True}}
    good = {"format": "text", "path": write_lines(tmp_path / "good.json.gz", {"text": "x"})}
    mixture = {"ratios": [{"understanding": 0, "generation": 0, "text": 1}]}
    result = check(recipe(tmp_path, root, data={"text": [broken, good]}, mixture=mixture))
    assert result.exit_code == 1
    assert f"not opened  cannot read on in {tmp_path}/1.jsonl" in result.stdout
    assert "rows        1, all checked" in result.stdout


def test_a_pattern_without_quotes_is_several_files(tmp_path: Path):
    """Which the shell has made of it."""
    names = [pairs(tmp_path, "images/1.png"), f"{tmp_path}/more.json"]
    write_json(tmp_path / "more.json", [{"image": "images/1.png", "caption": "red"}] * 2)
    result = check(*names, "--kind", "generation")
    assert result.exit_code == 0, result.output
    assert [line for line in result.stdout.splitlines() if line.startswith("generation")] == [
        f"generation: {name}" for name in names
    ]
    assert "2, all checked: 2 good" in result.stdout
    refused = check(names[0], "loop.steps=3")
    assert "loop.steps=3: settings to change need a recipe" in refused.stderr


@pytest.mark.parametrize(
    ("content", "arguments", "told"),
    [
        (
            {"images": [], "annotations": [{"id": 1, "image_id": 2, "bbox": [0, 0, 1, 1]}]},
            [],
            "entry 0 of annotations has no caption but id, image_id, bbox",
        ),
        ({"questions": [{"question": "what?"}]}, [], "--option answers=FILE"),
        (
            [{"caption": "red"}],
            ["--format", "coco-captions"],
            "holds no object: wanted a list of annotations",
        ),
    ],
)
def test_a_file_of_another_layout_is_one_line(
    tmp_path: Path, content: Any, arguments: list[str], told: str
):
    result = check(write_json(tmp_path / "file.json", content), *arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    (line,) = {line for line in result.stdout.splitlines() if "not opened" in line}
    assert told in line
