"""A stage learns from files of pictures and words, and says which of their rows were bad."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from data_files import PREPARE
from PIL import Image
from tiny_recipes import tiny_recipes

import janusflow
from janusflow.config.data import DataConfig, SourceConfig
from janusflow.config.errors import ConfigError, DataError
from janusflow.training.recipes import run_recipes
from janusflow.training.stage import open_sources

COLOURS = ("red", "green", "blue", "yellow", "black", "white")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mini's steps before the stages left, and a folder of someone's own pictures."""
    root = tmp_path_factory.mktemp("stage")
    for name, tree in tiny_recipes(root).items():
        if name < "6":
            (root / f"{name}.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    run_recipes(root)
    (root / "own").mkdir()
    rows, chats = [], []
    for number, colour in enumerate(COLOURS):
        Image.new("RGB", (90 + number, 70), colour).save(root / "own" / f"{colour}.png")
        rows.append({"image": f"{colour}.png", "caption": f"all {colour}"})
        asked = {"from": "human", "value": "<image>\nWhich colour?"}
        said = [asked, {"from": "gpt", "value": colour}]
        chats.append({"image": f"{colour}.png", "conversations": said})
    text = "\n".join(map(json.dumps, rows))
    (root / "own" / "pairs.jsonl").write_text(text, encoding="utf-8")
    (root / "own" / "chats.json").write_text(json.dumps(chats), encoding="utf-8")
    (root / "own" / "words.txt").write_text("some words\nand others\n", encoding="utf-8")
    return root


def recipe(root: Path, run: Path, **changes: Any) -> Path:
    tree = tiny_recipes(root)["6-stage1"] | {"run": str(run)}
    own = root / "own"
    tree["data"] = {
        "understanding": [{"format": "chat", "path": str(own / "chats.json")}],
        "generation": [{"format": "captions", "path": str(own / "pairs.jsonl")}],
        "text": [{"format": "text", "path": str(own / "words.txt")}],
    }
    ratio = {"understanding": 1, "generation": 1, "text": 1}
    tree["mixture"] = {"batch_size": 6, "ratios": [ratio]} | changes
    path = run.parent / f"{run.name}.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def test_a_stage_learns_from_files_and_its_model_loads(root: Path, tmp_path: Path):
    (run,) = run_recipes(recipe(root, tmp_path / "run"))
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {"text", "flow", "repa"} <= set(lines[-1])
    assert not (run / "bad-rows.jsonl").exists()
    picture = janusflow.load(run).generate("all red", steps=2, seed=0)[0]
    assert picture.size == (64, 64)


def test_minis_own_format_under_a_kind_it_does_not_make_is_refused():
    config = SourceConfig(format="easy-vqa", path="x.whl")
    with pytest.raises(ConfigError, match="easy-vqa makes understanding samples, not generation"):
        open_sources(DataConfig(generation=(config,)), PREPARE)


def test_a_damaged_picture_is_written_down_and_passed_over(root: Path, tmp_path: Path):
    good = (root / "own" / "blue.png").read_bytes()
    (root / "own" / "blue.png").write_bytes(good[:40])
    try:
        (run,) = run_recipes(recipe(root, tmp_path / "run", batch_size=18, max_bad_share=0.2))
        found = [json.loads(line) for line in (run / "bad-rows.jsonl").read_text().splitlines()]
        assert {(Path(each["source"]).name, each["row"]) for each in found} == {
            ("pairs.jsonl", 2),
            ("chats.json", 2),
        }
        assert all("blue.png" in each["why"] for each in found)
        with pytest.raises(DataError, match=r"bad, the last one row 2 of .*max_bad_share"):
            run_recipes(recipe(root, tmp_path / "strict", batch_size=18, max_bad_share=0.0))
    finally:
        (root / "own" / "blue.png").write_bytes(good)
