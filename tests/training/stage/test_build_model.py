"""What a stage starts from: trained parts keep their weights, whatever layout they come in."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from release_folder import write_release_folder
from tiny_run import LLM, MODEL, VISION, run_model, run_processor
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, SiglipVisionConfig, SiglipVisionModel

from janusflow.config.data import DataConfig, SourceConfig
from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.config.recipes import StageRecipe
from janusflow.interop.hub import find_model
from janusflow.interop.load import load_model
from janusflow.interop.saving import write_folder
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.training.stage.build_model import load_processor_and_vae, start_model


def start(*, data: DataConfig | None = None, **settings: Any) -> JanusFlowForConditionalGeneration:
    recipe = StageRecipe(
        task="stage", run=Path("run"), processor="p", vae="v", data=data or DataConfig(), **settings
    )
    return start_model(recipe, run_processor())


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tower")
    torch.manual_seed(1)
    SiglipVisionModel(SiglipVisionConfig(**VISION)).save_pretrained(folder)
    return folder


def assert_holds(module: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    held = module.state_dict()
    assert list(held) == list(weights)
    assert all(torch.equal(held[name], value) for name, value in weights.items())


def test_a_stage_reads_with_the_processor_and_vae_of_the_model_it_starts_from(tmp_path: Path):
    """Mini by its name, and what a run leaves by the run's."""
    recipe = StageRecipe(task="stage", run=tmp_path, data=DataConfig(), start="mini")
    assert (recipe.processor, recipe.vae) == ("mini", "mini")
    model, (processor, vae) = start_model(recipe, run_processor()), load_processor_and_vae(recipe)
    mini = load_model(find_model("mini"), dtype=torch.float32)
    assert_holds(model, mini.state_dict())
    write_folder(tmp_path / "run" / "model", model=model, processor=processor, vae=vae)
    by_run = replace(recipe, start=str(tmp_path / "run"), processor="", vae="")
    again, its_vae = load_processor_and_vae(by_run)
    assert again.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert_holds(its_vae, vae.state_dict())


def test_a_new_model_without_a_processor_is_told_what_lacks():
    with pytest.raises(ConfigError, match="start=null and no processor"):
        StageRecipe(task="stage", run=Path("run"), vae="v", data=DataConfig(), new={})


def test_a_new_model_has_the_towers_and_the_llms_weights(tower: Path, tmp_path: Path):
    settings = {name: value for name, value in LLM.items() if name != "model_type"}
    llm = AutoModelForCausalLM.from_config(LlamaConfig(**settings))
    llm.save_pretrained(tmp_path / "llm")
    own = {name: value for name, value in MODEL.items() if not name.endswith("_token_id")}
    own.pop("llm_config")
    model = start(new={**own, "tower": str(tower), "llm": str(tmp_path / "llm")})
    assert_holds(model.llm, llm.state_dict())
    trained = SiglipVisionModel.from_pretrained(tower)
    assert_holds(model.understanding_encoder, trained.state_dict())
    ids = ("bos", "eos", "pad", "image", "image_start", "image_end")
    for name in ids:
        wanted = getattr(run_processor(), f"{name}_token_id")
        assert getattr(model.config, f"{name}_token_id") == wanted
    model.save_pretrained(tmp_path / "built")
    assert str(tmp_path) not in (tmp_path / "built" / "config.json").read_text()
    assert str(tower) not in (tmp_path / "built" / "config.json").read_text()


def test_a_run_gives_its_llm_and_the_rest_begins_anew(tower: Path, tmp_path: Path):
    """Whatever is built around it; `llm_config` does not count beside a trained LLM."""
    before = run_model(seed=3)
    before.save_pretrained(tmp_path / "run" / "model")
    new = {**MODEL, "tower": str(tower), "llm": str(tmp_path / "run")}
    new |= {"understanding_input": "separate", "image_attention": "bidirectional"}
    new["llm_config"] = {**LLM, "num_hidden_layers": 1}
    model = start(new=new)
    assert_holds(model.llm, before.llm.state_dict())
    assert (model.config.understanding_input, model.config.image_attention) == (
        "separate",
        "bidirectional",
    )
    weight = model.generation_encoder.patchify.weight
    assert not torch.equal(weight, before.generation_encoder.patchify.weight)


def test_an_llm_with_fewer_tokens_than_the_processor_gets_room_for_them(
    tower: Path, tmp_path: Path
):
    settings = {name: value for name, value in LLM.items() if name != "model_type"}
    short = AutoModelForCausalLM.from_config(LlamaConfig(**{**settings, "vocab_size": 500}))
    short.save_pretrained(tmp_path / "llm")
    own = {"generation": MODEL["generation"], "vae": "vae"}
    model = start(new={**own, "tower": str(tower), "llm": str(tmp_path / "llm")})
    embeddings = model.llm.get_input_embeddings().weight
    assert len(embeddings) == len(run_processor().tokenizer)
    assert torch.equal(embeddings[:500], short.get_input_embeddings().weight)


@pytest.mark.parametrize("folder", ["", "model"])
def test_an_earlier_run_or_a_model_folder_starts_in_float32(tmp_path: Path, folder: str):
    """Stored halves are for shipping."""
    model = run_model().half()
    model.save_pretrained(tmp_path / "run" / "model")
    started = start(start=str(tmp_path / "run" / folder)).state_dict()
    assert {value.dtype for value in started.values()} == {torch.float32}
    stored = model.state_dict()
    assert all(torch.equal(value, stored[name].float()) for name, value in started.items())


def test_the_release_starts_too_and_gets_the_repa_head_it_lacks(tmp_path: Path):
    write_release_folder(tmp_path)
    released = load_model(tmp_path, dtype=torch.float32).state_dict()
    model = start(start=str(tmp_path), new={"repa": {"block": 1, "hidden_size": 8}})
    assert model.repa_head is not None
    assert {name for name in model.state_dict() if name not in released} == {
        f"repa_head.{name}" for name in model.repa_head.state_dict()
    }
    assert all(torch.equal(model.state_dict()[name], value) for name, value in released.items())
    weight = model.repa_head[0].weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.3)


def test_a_head_that_is_there_is_kept(tmp_path: Path):
    model = run_model()
    model.save_pretrained(tmp_path)
    started = start(start=str(tmp_path), new={"repa": {"block": 2, "hidden_size": 8}})
    assert_holds(started, model.state_dict())


def test_a_model_that_is_there_can_go_on_with_attention_both_ways(tmp_path: Path):
    model = run_model()
    model.save_pretrained(tmp_path)
    started = start(start=str(tmp_path), new={"image_attention": "bidirectional"})
    assert model.config.image_attention == "causal"
    assert started.config.image_attention == "bidirectional"
    assert_holds(started, model.state_dict())
    with pytest.raises(ConfigError, match="image_attention=both must be one of causal"):
        start(start=str(tmp_path), new={"image_attention": "both"})


def test_a_model_that_is_there_can_be_told_that_it_learns_to_plan(tmp_path: Path):
    model = run_model()
    model.save_pretrained(tmp_path)
    started = start(start=str(tmp_path), new={"plans": True})
    assert (model.config.plans, started.config.plans) == (False, True)
    assert_holds(started, model.state_dict())
    with pytest.raises(ConfigError, match=r"new\.plans=no: wanted true or false"):
        start(start=str(tmp_path), new={"plans": "no"})


@pytest.mark.parametrize(
    ("format", "options", "plans"),
    [
        ("scene-plans", {}, True),
        ("scenes", {"planned": 0.5}, True),
        ("scenes", {}, False),
        ("jsonl", {}, False),
    ],
)
def test_a_model_plans_after_a_stage_only_if_the_stage_teaches_it(
    tmp_path: Path, format: str, options: dict[str, Any], plans: bool
):
    """Or the next image would be drawn from a plan of what was learnt before."""
    model = run_model()
    model.config.plans = True
    model.save_pretrained(tmp_path)
    source = SourceConfig(format=format, path="x", options=options)
    data = DataConfig(understanding=(source,), generation=(source,))
    assert start(start=str(tmp_path), data=data).config.plans == plans


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "new=nothing and no start"),
        ({"new": {"tower": "t"}}, "new=tower and no start"),
        ({"new": {"llm_config": LLM}}, "new=llm_config and no start"),
    ],
)
def test_a_recipe_that_names_too_little_is_refused(settings: dict[str, Any], told: str):
    with pytest.raises(ConfigError, match=told):
        start(**settings)


def test_parts_of_a_model_that_is_there_already_are_refused(tmp_path: Path):
    run_model().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"takes only new\.repa"):
        start(start=str(tmp_path), new={"tower": "x"})


def test_a_part_that_is_no_model_is_one_clear_line(tower: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match="holds no AutoModelForCausalLM") as told:
        start(new={"tower": str(tower), "llm": str(tmp_path)})
    assert "\n" not in str(told.value)
