"""A stage with `tune` learns an adapter alone, and leaves it in peft's folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import in_processes
from PIL import Image
from safetensors.torch import load_file
from tiny_adapter import (
    PROMPTS,
    STEPS,
    adapter_recipe,
    killed_stage,
    shown_recipe,
    train_shown,
    write_base,
)
from torch import Tensor

import janusflow
from janusflow.config.errors import ConfigError
from janusflow.inference.previews import draw_and_answer
from janusflow.interop.hub import RUN_ADAPTER
from janusflow.interop.load import load_model
from janusflow.training.engine.checkpoint import checkpoints, read_checkpoint
from janusflow.training.report.previews import contact_sheet
from janusflow.training.stage import stage as stages
from janusflow.training.stage.freezing import PARTS
from janusflow.training.stage.stage import train_stage
from janusflow.tuning.files import load_adapter

WEIGHTS = "adapter_model.safetensors"
DROPOUT = {"dropout": 0.2}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("adapting"))


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished one that drew samples at its end."""
    return train_shown(shown_recipe(root, tmp_path_factory.mktemp("runs") / "run"))


def adapter_of(run: Path) -> dict[str, Tensor]:
    return load_file(run / RUN_ADAPTER / WEIGHTS)


def loaded(root: Path, run: Path) -> janusflow.JanusFlow:
    """The base with the run's adapter."""
    jf = janusflow.load(root / "base", device="cpu")
    load_adapter(jf.model, run, name="learnt")
    return jf


def test_a_run_leaves_its_adapter_and_no_model(root: Path, run: Path):
    assert not (run / "model").exists()
    weights, base = adapter_of(run), load_model(root / "base")
    assert sum(path.stat().st_size for path in (run / RUN_ADAPTER).iterdir()) < 100_000
    assert sum(each.numel() for each in weights.values()) < base.num_parameters() / 3
    settings = json.loads((run / RUN_ADAPTER / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(root / "base")
    assert settings["r"] == settings["lora_alpha"] == 4


def test_every_layer_that_was_named_has_learnt_something(run: Path):
    moved = {name for name, each in adapter_of(run).items() if "lora_B" in name and each.any()}
    named = {name for name in adapter_of(run) if "lora_B" in name}
    assert len(named) == 30
    assert moved == named


def test_the_preview_is_the_picture_after_loading_bit_for_bit(root: Path, run: Path):
    (sheet,) = (run / "samples").iterdir()
    jf = loaded(root, run)
    again = contact_sheet(jf.generate(PROMPTS, seed=0))
    assert np.array_equal(np.asarray(Image.open(sheet)), np.asarray(again))
    plain = contact_sheet(janusflow.load(root / "base", device="cpu").generate(PROMPTS, seed=0))
    assert not np.array_equal(np.asarray(again), np.asarray(plain))


def test_a_checkpoint_holds_the_adapter_alone_and_so_does_the_average(run: Path):
    saved = read_checkpoint(checkpoints(run)[-1])
    kinds = {name.partition(".")[0] for name in saved if "model." in name}
    assert kinds == {"parameters", "ema", "optimizer"}
    assert all("lora_" in name for name in saved if "model." in name)
    averaged = {name.removeprefix("ema.model."): t for name, t in saved.items() if "ema." in name}
    adapter = adapter_of(run)
    assert {name.replace(".default", "") for name in averaged} == {
        name.removeprefix("base_model.model.") for name in adapter
    }
    for name, average in averaged.items():
        found = adapter["base_model.model." + name.replace(".default", "")]
        assert torch.equal(found, average), name
    assert any(not torch.equal(t, saved[f"parameters.model.{n}"]) for n, t in averaged.items())


@pytest.fixture(scope="module")
def dropped(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished one with dropout."""
    run = tmp_path_factory.mktemp("runs") / "dropped"
    train_stage(adapter_recipe(root, run, tune=DROPOUT))
    return run


def test_a_run_that_was_killed_ends_like_an_uninterrupted_one(
    root: Path, tmp_path: Path, dropped: Path
):
    (ended,) = in_processes(killed_stage, [(root, tmp_path / "run", STEPS - 1, DROPOUT)])
    assert ended.code == -9, ended.stderr
    assert len(checkpoints(tmp_path / "run")) == 1
    assert not (tmp_path / "run" / RUN_ADAPTER).exists()
    train_stage(adapter_recipe(root, tmp_path / "run", tune=DROPOUT))
    resumed, whole = (
        (each / RUN_ADAPTER / WEIGHTS).read_bytes() for each in (tmp_path / "run", dropped)
    )
    assert resumed == whole


def test_dropout_changes_what_is_learnt(dropped: Path, run: Path):
    found, plain = adapter_of(dropped), adapter_of(run)
    assert found.keys() == plain.keys()
    assert any(not torch.equal(found[name], plain[name]) for name in plain)


def test_recomputing_with_dropout_changes_no_bit_of_what_is_learnt(
    root: Path, tmp_path: Path, dropped: Path
):
    loop = {"parallelism": {"activation_checkpointing": True}}
    train_stage(adapter_recipe(root, tmp_path / "run", tune=DROPOUT, loop=loop))
    again = adapter_of(tmp_path / "run")
    assert all(torch.equal(again[name], each) for name, each in adapter_of(dropped).items())


def test_the_base_is_never_copied(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Not for training, not for previews, not for the adapter's folder: one storage throughout."""
    started: list[dict[str, int]] = []
    start = stages.start_model

    def noted(*args: Any) -> Any:
        model = start(*args)
        started.append({name: p.data_ptr() for name, p in model.named_parameters()})
        return model

    drawn: list[dict[str, int]] = []

    def drawing(model: Any, *args: Any) -> Any:
        drawn.append(base_of(model))
        return draw_and_answer(model, *args)

    def base_of(model: Any) -> dict[str, int]:
        return {
            name.replace(".base_layer", ""): p.data_ptr()
            for name, p in model.named_parameters()
            if "lora_" not in name
        }

    written: list[dict[str, int]] = []

    def noting(model: Any, *_: Any, **__: Any) -> None:
        written.append(base_of(model))

    monkeypatch.setattr(stages, "start_model", noted)
    monkeypatch.setattr(stages, "save_adapter", noting)
    train_stage(shown_recipe(root, tmp_path / "run"), sampler=drawing)
    assert drawn == started
    assert written == started


def test_the_base_is_left_as_it_was(root: Path, run: Path):
    model = loaded(root, run).model
    base = load_model(root / "base").state_dict()
    for name, weight in model.state_dict().items():
        if "lora_" not in name:
            assert torch.equal(weight, base[name.replace(".base_layer", "")]), name


@pytest.mark.parametrize(
    ("parts", "on"),
    [
        (["aligners", "generation_decoder", "repa_head"], "llm.attention"),
        pytest.param(
            ["understanding_encoder", "generation_encoder"], "llm.mlp", marks=pytest.mark.slow
        ),
    ],
    ids=lambda each: "+".join(each) if isinstance(each, list) else each,
)
def test_parts_may_train_in_full_beside_an_adapter(
    root: Path, tmp_path: Path, parts: list[str], on: str
):
    recipe = shown_recipe(root, tmp_path / "run", tune={"on": [on]}, trainable=parts)
    train_shown(recipe)
    base = load_model(root / "base").state_dict()
    full = {
        name.removeprefix("base_model.model."): each
        for name, each in adapter_of(tmp_path / "run").items()
        if "lora_" not in name
    }
    named = {attribute for part in parts for attribute in PARTS[part]}
    assert {name.split(".")[0] for name in full} == named - {
        "begin_of_understanding",
        "latent_encoder",
    }
    moved = {name for name, each in full.items() if not torch.equal(each, base[name])}
    # The pooling head never runs; a bias on attention's keys shifts all scores of a query alike.
    idle = {name for name in full if "encoder.head." in name or name.endswith("k_proj.bias")}
    assert moved | idle == set(full)
    (sheet,) = (tmp_path / "run" / "samples").iterdir()
    again = contact_sheet(loaded(root, tmp_path / "run").generate(PROMPTS, seed=0))
    assert np.array_equal(np.asarray(Image.open(sheet)), np.asarray(again))


def test_the_whole_llm_beside_an_adapter_is_refused(root: Path, tmp_path: Path):
    recipe = shown_recipe(root, tmp_path / "run", tune={"on": ["generation"]}, trainable=["llm"])
    with pytest.raises(ConfigError, match=r"adapt it \(tune.on: \[llm\]\)"):
        train_shown(recipe)


def test_a_bfloat16_base_has_a_float32_adapter(root: Path, tmp_path: Path):
    recipe = shown_recipe(root, tmp_path / "run", tune={"base_precision": "bf16"})
    train_shown(recipe)
    weights = adapter_of(tmp_path / "run")
    assert {each.dtype for each in weights.values()} == {torch.float32}
    assert any(each.any() for name, each in weights.items() if "lora_B" in name)
    saved = read_checkpoint(checkpoints(tmp_path / "run")[-1])
    assert {t.dtype for name, t in saved.items() if "model." in name} == {torch.float32}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"start": None, "new": {"tower": "tower"}}, "tune and no start"),
        (
            {"new": {"repa": {"block": 1}}},
            "tune and new=repa: an adapter leaves its model as it is",
        ),
        (
            {"tune": {"base_precision": "bf16"}, "trainable": ["repa_head"]},
            "parts that train in full must be float32",
        ),
        ({"trainable": ["lm"]}, r"trainable=\['lm'\]: wanted some of aligners"),
        ({"trainable": ["generation_decoder"]}, "generation_decoder is to be trained in full"),
        ({"tune": {"on": ["tower"]}}, "'tower' names no layer of this model"),
    ],
)
def test_what_cannot_be_tuned_is_refused(
    root: Path, tmp_path: Path, changes: dict[str, Any], told: str
):
    with pytest.raises(ConfigError, match=told):
        train_stage(adapter_recipe(root, tmp_path / "run", **changes))
