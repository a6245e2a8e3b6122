"""The 1.3B recipes against the paper's Table 1, written out."""

from pathlib import Path
from typing import Any

import pytest

from janusflow.config.recipes import StageRecipe
from janusflow.training.engine import distributed
from janusflow.training.recipes import read_recipe
from janusflow.training.stage.freezing import PARTS

FOLDER = Path(__file__).parents[2] / "recipes" / "janusflow-1.3b"
TABLE: dict[str, dict[str, Any]] = {
    "stage1": {
        "rate": 1e-4,
        "warmup": 2000,
        "steps": 10_000,
        "batch": 512,
        "shares": [(50, 50, 0, None)],
        "frozen": {"llm", "understanding_encoder"},
    },
    "stage2": {
        "rate": 1e-4,
        "warmup": 2000,
        "steps": 390_000,
        "batch": 512,
        "shares": [(30, 50, 20, 10_000), (14, 80, 6, None)],
        "frozen": {"understanding_encoder"},
    },
    "stage3": {
        "rate": 2e-5,
        "warmup": 1000,
        "steps": 26_000,
        "batch": 256,
        "shares": [(21, 70, 9, None)],
        "frozen": set(),
    },
}


def recipe(stage: str) -> StageRecipe:
    return read_recipe(FOLDER / f"{stage}.yaml")


@pytest.mark.parametrize("stage", TABLE)
def test_a_stage_is_the_papers(stage: str):
    found, wanted = recipe(stage), TABLE[stage]
    optimizer = found.loop.optimizer
    assert optimizer.learning_rate == wanted["rate"]
    assert optimizer.warmup_steps == wanted["warmup"]
    assert optimizer.betas == (0.9, 0.95)
    assert (optimizer.weight_decay, optimizer.clip_norm, optimizer.decay_steps) == (0.0, 1.0, 0)
    assert (found.loop.steps, found.loop.ema) == (wanted["steps"], 0.99)
    assert (found.mixture.batch_size, found.mixture.row_tokens) == (wanted["batch"], 4096)
    ratios = [(r.understanding, r.generation, r.text, r.until) for r in found.mixture.ratios]
    assert ratios == wanted["shares"]
    assert set(PARTS) - set(found.trainable) == wanted["frozen"]
    weights = found.objective
    assert weights.flow_weight == weights.alignment_weight == weights.text_weight == 1.0
    assert weights.drop_prompt == 0.1


def test_each_stage_starts_where_the_last_one_ended():
    first, second, third = (recipe(stage) for stage in TABLE)
    assert first.new is not None
    assert first.new["repa"] == {"block": 6, "hidden_size": 2048}
    assert (second.start, third.start) == (str(first.run), str(second.run))


@pytest.mark.parametrize("stage", TABLE)
def test_every_kind_with_a_share_has_a_source_and_seeds_differ(stage: str):
    found = recipe(stage)
    for kind in ("understanding", "generation", "text"):
        has_share = any(getattr(ratio, kind) for ratio in found.mixture.ratios)
        assert bool(getattr(found.data, kind)) == has_share
    assert len({recipe(each).loop.seed for each in TABLE}) == 3


@pytest.mark.parametrize("num_gpus", [1, 8, 64])
@pytest.mark.parametrize("stage", TABLE)
def test_a_stage_can_be_laid_out_on_one_node_and_on_eight(
    stage: str, num_gpus: int, monkeypatch: pytest.MonkeyPatch
):
    """Every sample once, in as many micro-batches in every process, none larger than was said."""
    found = recipe(stage)
    samples, sizes = [], set()
    monkeypatch.setattr(distributed, "num_processes", lambda: num_gpus)
    for rank in range(num_gpus):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        own = distributed.microbatches_of_rank(range(found.mixture.batch_size), found.loop)
        sizes.add(tuple(map(len, own)))
        samples += [sample for part in own for sample in part]
    assert sorted(samples) == list(range(found.mixture.batch_size))
    assert len(sizes) == 1
    assert max(map(max, sizes)) <= (found.loop.micro_batch_size or 0)
    assert found.loop.parallelism.shard_size(num_gpus) == min(num_gpus, 8)
