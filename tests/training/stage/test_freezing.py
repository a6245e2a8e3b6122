"""A stage moves the parts it names and nothing else."""

from pathlib import Path

import pytest
import torch
from tiny_run import TinySources, draw, make_collator, run_model

from janusflow.config.data import DataConfig
from janusflow.config.errors import ConfigError
from janusflow.config.learning.tuning import TuneConfig
from janusflow.config.recipes import StageRecipe
from janusflow.config.records import read_tree
from janusflow.config.training import LoopConfig, ObjectiveConfig
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.training.engine.loop import train
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.stage.freezing import PARTS, train_only, trains_tower

RECIPES = Path(__file__).parents[3] / "recipes" / "mini"
HEAD = "understanding_encoder.head."


def stages() -> dict[str, tuple[str, ...]]:
    trees = {path.stem: read_tree(path) for path in sorted(RECIPES.glob("*.yaml"))}
    return {name: tuple(t["trainable"]) for name, t in trees.items() if t["task"] == "stage"}


def test_the_parts_are_the_whole_model_and_none_is_named_twice():
    attributes = [name for names in PARTS.values() for name in names]
    config = JanusFlowConfig(**{**run_model().config.to_dict(), "understanding_input": "separate"})
    model = JanusFlowForConditionalGeneration(config)
    assert sorted(attributes) == sorted(
        {name.split(".")[0] for name, _ in model.named_parameters()}
    )


@pytest.mark.parametrize("stage", stages())
def test_one_step_moves_exactly_the_named_parts(sources: TinySources, tmp_path: Path, stage: str):
    trainable = stages()[stage]
    model = run_model()
    train_only(model, trainable)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert any(name.startswith(HEAD) for name in before)
    kinds = ("text",) if trainable == ("llm",) else ("understanding", "generation")
    batch = make_collator(model)(draw(sources, *kinds))
    train(
        JanusFlowObjective(model, ObjectiveConfig()),
        lambda _: iter([[batch]]),
        LoopConfig(steps=1),
        run=tmp_path,
    )
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    named = {attribute for part in trainable for attribute in PARTS[part]}
    wanted = {name for name in before if name.split(".")[0] in named and not name.startswith(HEAD)}
    # A bias on attention's keys shifts all scores of a query alike: its gradient is rounding.
    idle = {name for name in wanted if name.endswith("k_proj.bias")}
    assert moved | idle == wanted


def test_the_papers_stages_free_more_and_more():
    """Table 1: stage 1 without LLM and tower, stage 2 without the tower, stage 3 everything."""
    freed = {name.split("-")[1]: set(parts) for name, parts in stages().items()}
    everything = set(PARTS)
    assert freed["stage1"] == everything - {"llm", "understanding_encoder"}
    assert freed["stage2"] == everything - {"understanding_encoder"}
    assert freed["stage3"] == everything


def test_the_pooling_head_never_trains():
    model = run_model()
    train_only(model, list(PARTS))
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen
    assert all(name.startswith(HEAD) for name in frozen)


def test_a_later_choice_replaces_the_earlier_one():
    model = run_model()
    train_only(model, list(PARTS))
    train_only(model, ["llm"])
    assert {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad} == {"llm"}


@pytest.mark.parametrize("parts", [[], ["lm"], ["llm", "vae"]])
def test_unknown_parts_are_refused_with_the_known_ones(parts: list[str]):
    with pytest.raises(ConfigError, match="aligners, generation_encoder"):
        train_only(run_model(), parts)


@pytest.mark.parametrize(
    ("on", "trainable", "trains"),
    [
        (("llm", "generation", "aligners"), (), False),
        (("understanding",), (), True),
        (("understanding_encoder.encoder.layers.0",), (), True),
        (("understanding_aligner",), (), False),
        (("llm",), ("understanding_encoder",), True),
        (None, ("llm",), False),
        (None, ("understanding_encoder",), True),
    ],
)
def test_a_tower_that_an_adapter_changes_trains(
    on: tuple[str, ...] | None, trainable: tuple[str, ...], trains: bool
):
    """Its features are then not taken from a cache."""
    recipe = StageRecipe(
        task="stage",
        run=Path("run"),
        start="mini",
        data=DataConfig(),
        trainable=trainable,
        tune=None if on is None else TuneConfig(on=on),
    )
    assert trains_tower(recipe) == trains
