"""A stage learns from files of images and words, and says which of their rows were bad."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from data_files import PREPARE
from PIL import Image
from tiny_recipes import tiny_recipes

import janusflow
from janusflow.config.data import SourceConfig
from janusflow.config.errors import CheckpointError, ConfigError, DataError, TrainingError
from janusflow.data.batches.mixture import KINDS
from janusflow.data.sources.formats import open_sources
from janusflow.inference.previews import draw_and_answer
from janusflow.inference.rollouts import OwnRollouts
from janusflow.interop.vae import load_vae
from janusflow.training.engine import loop
from janusflow.training.engine.checkpoint import checkpoints
from janusflow.training.engine.loop import StepReport, TrainState, accumulate_gradients
from janusflow.training.recipes import read_recipe, run_recipes
from janusflow.training.stage.stage import train_stage

COLOURS = ("red", "green", "blue", "yellow", "black", "white")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mini's steps before the stages left, and a folder of someone's own images."""
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
    assert {"ce_answer", "ce_text", "flow_mse", "repa"} <= set(lines[-1])
    assert not (run / "bad-rows.jsonl").exists()
    image = janusflow.load(run).generate("all red", steps=2, seed=0)[0]
    assert image.size == (64, 64)


def test_a_vae_that_encodes_in_bfloat16_is_saved_as_it_was(root: Path, tmp_path: Path):
    """Its latents are another cache, and other data to a run that has begun."""
    path = recipe(root, tmp_path / "run", ratios=[{"understanding": 0, "generation": 1, "text": 0}])
    (run,) = run_recipes(path, ("vae_encoding.precision=bf16", "vae_encoding.channels_last=true"))
    losses = [json.loads(line)["flow_mse"] for line in (run / "log.jsonl").read_text().splitlines()]
    (plain,) = run_recipes(path, (f"run={tmp_path / 'plain'}",))
    wanted = [
        json.loads(line)["flow_mse"] for line in (plain / "log.jsonl").read_text().splitlines()
    ]
    assert losses == pytest.approx(wanted, rel=0.02)
    assert losses != wanted
    saved, given = (load_vae(folder / "model").state_dict() for folder in (run, plain))
    assert all(torch.equal(saved[name], weight) for name, weight in given.items())
    (run / "done").unlink()
    with pytest.raises(ConfigError, match=r"vae_encoding\.precision=fp32 \(was bf16\)"):
        run_recipes(path, ("vae_encoding.batch_size=2",))


def test_a_run_whose_data_have_changed_does_not_go_on(root: Path, tmp_path: Path):
    (tmp_path / "words.txt").write_text("some words\n", encoding="utf-8")
    text = {"format": "text", "path": str(tmp_path / "words.txt")}
    path = recipe(root, tmp_path / "run", ratios=[{"understanding": 0, "generation": 0, "text": 1}])
    tree = yaml.safe_load(path.read_text()) | {"data": {"text": [text]}}
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    (run,) = run_recipes(path)
    (run / "done").unlink()
    (tmp_path / "words.txt").write_text("some words\nand others\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"was begun with other data \(changed: .*words\.txt\)"):
        run_recipes(path)


def test_a_stage_learns_from_its_own_drawings_by_what_the_command_line_hands_over(
    root: Path, tmp_path: Path
):
    path = recipe(root, tmp_path / "run")
    rewards = [{"name": "likelihood"}, {"name": "answers", "weight": 0}]
    changes = (
        f"preference={json.dumps({'prompts_per_round': 2, 'rewards': rewards})}",
        *("preference.images_per_prompt=2", "preference.drawing_steps=1"),
        *("objective.alignment=none", "trainable=[generation_decoder]"),
    )
    with pytest.raises(ConfigError, match="preference without rollouts, which draw and judge"):
        run_recipes(path, changes)
    (run,) = run_recipes(path, changes, rollouts=OwnRollouts())
    told = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
    assert [line["round"] for line in told] == [0, 1]
    assert all(line["reward.likelihood"] < 0 for line in told)
    assert {line["first_prompt"].split()[0] for line in told} == {"all"}
    logged = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    assert logged["nft"] > 0
    assert janusflow.load(run).generate("all red", steps=2, seed=0)[0].size == (64, 64)


def test_images_are_redrawn_from_what_the_model_sees_of_them(root: Path, tmp_path: Path):
    path = recipe(root, tmp_path / "run", ratios=[{"understanding": 0, "generation": 1, "text": 0}])
    pairs = {"format": "captions", "path": str(root / "own" / "pairs.jsonl"), "redraw": "Describe."}
    tree = yaml.safe_load(path.read_text()) | {"data": {"generation": [pairs]}}
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    (run,) = run_recipes(path, ("objective.alignment=none",))
    logged = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    assert logged["flow_mse"] > 0
    # A time token and the image's 16 to draw, a begin token and the 16 that are seen, and words.
    assert logged["tokens_per_second"] / logged["samples_per_second"] > 2 * 17 + 5


def run_stage(root: Path, run: Path, *overrides: str) -> Path:
    (done,) = run_recipes(recipe(root, run), overrides, sampler=draw_and_answer)
    return done


def test_reports_and_samples_change_nothing_that_is_learnt(root: Path, tmp_path: Path):
    pytest.importorskip("tensorboard")
    shown = run_stage(
        root,
        tmp_path / "shown",
        *("log.samples_every=2", "log.prompts=[all red]", "log.to=[tensorboard]"),
        f"log.questions=[{{image: {root}/own/red.png, question: 'Which colour?'}}]",
        *("log.peak_tflops=1", "loop.log_every=1"),
    )
    silent = run_stage(root, tmp_path / "silent", "loop.log_every=1")
    weights = "model/model.safetensors"
    assert (shown / weights).read_bytes() == (silent / weights).read_bytes()
    assert {path.name for path in shown.iterdir()} - {path.name for path in silent.iterdir()} == {
        *("samples", "samples.jsonl", "tensorboard"),
    }
    assert [path.name for path in (shown / "samples").iterdir()] == ["00000002.png"]
    for line in map(json.loads, (shown / "log.jsonl").read_text().splitlines()):
        assert line["understanding_share"] == line["generation_share"] == pytest.approx(1 / 3)
        assert 0 <= line["padding_share"] < 0.5
        assert line["mfu"] > 0


def test_seed_and_accumulation_reach_the_steps(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lengths: list[list[int]] = []

    def spy(objective: Any, batches: Any) -> Any:
        lengths.append([len(batch) for batch in batches])
        return accumulate_gradients(objective, batches)

    monkeypatch.setattr(loop, "accumulate_gradients", spy)
    first, other, again = (
        (run_stage(root, tmp_path / name, change) / "model/model.safetensors").read_bytes()
        for name, change in (
            ("seed", "loop.seed=1"),
            ("split", "loop.micro_batch_size=2"),
            ("again", "loop.seed=1"),
        )
    )
    assert first == again != other
    assert lengths == [[6]] * 2 + [[2, 2, 2]] * 2 + [[6]] * 2


class Interrupt:
    """Stops the run before a step is saved, as a user would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, state: TrainState, report: StepReport) -> None:
        if report.step == self.step:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_stage_learns_from_streams_and_goes_on_with_their_very_rows(root: Path, tmp_path: Path):
    streamed = {"streaming": True, "shuffle_buffer": 4}
    own = root / "own"
    data = {
        "generation": [{"format": "captions", "path": f"{own}/pairs.jsonl", "options": streamed}],
        "text": [{"format": "text", "path": f"{own}/words.txt", "options": streamed}],
    }
    settings = [f"data.{kind}={json.dumps(sources)}" for kind, sources in data.items()]
    settings += ["loop.save_every=1", "loop.steps=3"]
    whole = run_stage(root, tmp_path / "whole", *settings)
    parts = read_recipe(recipe(root, tmp_path / "parts"), tuple(settings))
    for step in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            train_stage(parts, hooks=(Interrupt(step),))
        assert checkpoints(parts.run)[-1].name.endswith(str(step - 1))
    train_stage(parts)
    weights = "model/model.safetensors"
    assert (parts.run / weights).read_bytes() == (whole / weights).read_bytes()
    found = [json.loads(line) for line in (whole / "shards.jsonl").read_text().splitlines()]
    assert {(Path(each["source"]).name, each["rows"]) for each in found} == {
        ("pairs.jsonl (train)", len(COLOURS)),
        ("words.txt (train)", 2),
    }


def test_a_step_that_breaks_names_the_rows_of_the_files(root: Path, tmp_path: Path):
    """At a rate of 1e30 the second step finds no number any more."""
    with pytest.raises(TrainingError, match=r"not finite at step 2: .*chats\.json rows \d") as told:
        run_stage(root, tmp_path / "run", "loop.optimizer.learning_rate=1e30")
    assert all(name in str(told.value) for name in ("pairs.jsonl rows", "words.txt rows"))
    (line,) = map(json.loads, (tmp_path / "run" / "bad-steps.jsonl").read_text().splitlines())
    assert Counter(row["kind"] for row in line["rows"]) == dict.fromkeys(KINDS, 2)
    assert not list((tmp_path / "run" / "checkpoints").glob("*"))


def test_a_run_that_made_nothing_takes_other_settings(root: Path, tmp_path: Path):
    """A path mistyped is mended without deleting the folder."""
    missing = "vae=nowhere"
    for _ in range(2):
        with pytest.raises(CheckpointError, match="nowhere"):
            run_stage(root, tmp_path / "run", missing)
    run = run_stage(root, tmp_path / "run")
    assert yaml.safe_load((run / "recipe.yaml").read_text())["vae"] != "nowhere"
    assert (run / "done").exists()


def test_settings_of_log_and_guard_may_change_from_start_to_start_and_no_others(
    root: Path, tmp_path: Path
):
    broken = "loop.optimizer.learning_rate=1e30"
    with pytest.raises(TrainingError, match=r"loop\.guard\.not_finite=skip"):
        run_stage(root, tmp_path / "run", broken)
    told = r"begun with other settings .*, now loop\.seed=1 \(was 0\): choose another run=FOLDER"
    with pytest.raises(ConfigError, match=told):
        run_stage(root, tmp_path / "run", broken, "loop.seed=1")
    run = run_stage(root, tmp_path / "run", broken, "loop.guard.not_finite=skip", "log.project=a")
    (line,) = map(json.loads, (run / "bad-steps.jsonl").read_text().splitlines())
    assert (line["step"], line["action"]) == (2, "skip")
    starts = [json.loads(line) for line in (run / "environment.jsonl").read_text().splitlines()]
    assert len(starts) == 2


def test_minis_own_format_under_a_kind_it_does_not_make_is_refused():
    config = SourceConfig(format="easy-vqa", path="x.whl")
    with pytest.raises(ConfigError, match="easy-vqa makes understanding samples, not generation"):
        open_sources({"generation": (config,)}, PREPARE)


def test_a_damaged_image_is_written_down_and_passed_over(root: Path, tmp_path: Path):
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
        with pytest.raises(DataError, match=r"bad, more than .*, the last one row 2 of "):
            run_recipes(recipe(root, tmp_path / "strict", batch_size=18, max_bad_share=0.0))
    finally:
        (root / "own" / "blue.png").write_bytes(good)
