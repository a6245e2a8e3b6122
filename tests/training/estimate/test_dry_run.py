"""Whole stages: parameters by part, days, and the paper's own bill."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tiny_run import VAE, run_model
from tiny_stage import stage_recipe, stage_tree, write_parts

from janusflow.config.dry_run import DryRunConfig
from janusflow.config.errors import ConfigError
from janusflow.interop.release import vae_on_meta
from janusflow.training.estimate.dry_run import StageCost, dry_run, dry_run_recipes
from janusflow.training.recipes import read_recipe

PAPER = Path(__file__).parents[3] / "recipes" / "janusflow-1.3b"
PAPER_DAYS = 1600
NOWHERE = [{"format": "captions", "path": "no/where.jsonl"}]
NO_DATA = {"understanding": NOWHERE, "generation": NOWHERE, "text": NOWHERE}
ONE = DryRunConfig(gpus=1, precision="fp32")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def stage(root: Path) -> StageCost:
    return dry_run(stage_recipe(root, data=NO_DATA), ONE)


def test_parameters_by_part_are_the_models_and_the_vaes(stage: StageCost):
    model, vae = run_model(), vae_on_meta(VAE)
    both = [*model.parameters(), *vae.parameters()]
    assert sum(p.parameters for p in stage.parts.values()) == sum(p.numel() for p in both)
    assert stage.parts["llm"].trainable == sum(p.numel() for p in model.llm.parameters())
    assert stage.parts["understanding_encoder"].trainable == stage.parts["vae"].trainable == 0


def test_days_follow_from_operations_peak_rate_and_its_share(root: Path, stage: StageCost):
    (phase,) = stage.phases
    assert stage.flops == 10 * phase.step_flops
    assert stage.gpu_days == pytest.approx(stage.flops / (0.4 * 19.5e12) / 86_400)
    assert stage.hours == pytest.approx(24 * stage.gpu_days)
    twice = replace(stage, config=replace(ONE, mfu=0.8, gpus=2))
    assert twice.gpu_days == pytest.approx(stage.gpu_days / 2)
    assert twice.hours == pytest.approx(stage.hours / 4)


def test_every_ratio_is_a_phase_of_its_steps(root: Path):
    ratios = [
        {"understanding": 1, "generation": 0, "text": 0, "until": 4},
        {"understanding": 0, "generation": 1, "text": 0, "until": 20},
        {"understanding": 0, "generation": 0, "text": 1},
    ]
    found = dry_run(stage_recipe(root, data=NO_DATA, mixture={"ratios": ratios}), ONE)
    assert [phase.steps for phase in found.phases] == [4, 6]
    assert [phase.size.generation_images for phase in found.phases] == [0, 512]
    assert found.phases[0].size.understanding_images == 512


def test_from_a_cache_neither_the_vae_nor_a_frozen_tower_is_counted(root: Path, stage: StageCost):
    data = {**NO_DATA, "crops": 1, "cache": "no/where"}
    cached = dry_run(stage_recipe(root, data=data), ONE).phases[0].forward_flops
    (plain,) = (phase.forward_flops for phase in stage.phases)
    computed = ("vae_encoder", "understanding_encoder", "understanding_encoder_for_repa")
    assert all(plain[part] > 0 for part in computed)
    assert not any(cached.get(part) for part in computed)
    for part in ("llm", "generation_encoder", "generation_decoder", "repa_head"):
        assert cached[part] == plain[part] > 0


def test_assumptions_are_told(stage: StageCost):
    told = " ".join(stage.notes)
    for word in ("assumed", "memory:", "operations:", "time: 40% of the peak rate of a100"):
        assert word in told


def test_another_alignment_is_counted_and_a_scorer_of_its_own_is_not_loaded(root: Path):
    """The tower and the VAE's decoder run for the score of a picture; for none, not even the tower.

    The head, which only training with it runs, is idle in both.
    """

    def forward(**objective: str) -> dict[str, float]:
        recipe = stage_recipe(root, data=NO_DATA, objective=objective)
        (phase,) = dry_run(recipe, ONE).phases
        return dict(phase.forward_flops)

    repa, none, score = forward(), forward(alignment="none"), forward(alignment="score")
    assert repa["understanding_encoder_for_repa"] > 0
    assert "understanding_encoder_for_repa" not in none.keys() | score.keys()
    assert repa["repa_head"] > 0 == none.get("repa_head", 0) == score.get("repa_head", 0)
    assert score["vae_decoder"] > 0 == none.get("vae_decoder", 0)
    assert score["scorer"] > 0
    with pytest.raises(ConfigError, match=r"does not load objective\.scorer=pair"):
        forward(alignment="score", scorer="pair")


def test_recipes_of_other_tasks_are_refused(tmp_path: Path):
    path = tmp_path / "scenes.yaml"
    path.write_text("task: scenes\nrun: here\nnum_scenes: 2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="task is scenes"):
        dry_run_recipes(path, (), ONE)


def test_the_stages_of_a_folder_are_counted_one_by_one(root: Path, tmp_path: Path):
    for name in ("1", "2"):
        tree = stage_tree(root, data=NO_DATA, run=str(tmp_path / name))
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    (tmp_path / "0.yaml").write_text("task: scenes\nrun: a\nnum_scenes: 2\n", encoding="utf-8")
    stages = dry_run_recipes(tmp_path, (), ONE)
    assert [stage.run for stage in stages] == [str(tmp_path / name) for name in ("1", "2")]


# ---- the paper ------------------------------------------------------------------------------


def test_512_packed_rows_a_step_explain_the_papers_bill_and_512_samples_do_not():
    """1,600 A100-days are 2 to 5% of the peak rate for samples, 10 to 40% for rows of 4,096.

    Of stage 2 after its first steps, which is nearly all of the paper's training.
    """
    ratio = "mixture.ratios=[{understanding: 14, generation: 80, text: 6}]"
    recipe = read_recipe(PAPER / "stage2.yaml", (ratio, "loop.accumulate=1"))
    found = dry_run(recipe, DryRunConfig(gpus=8, mfu=1.0))
    (phase,) = found.phases
    by_samples = found.gpu_days / PAPER_DAYS
    by_rows = by_samples * 512 / phase.size.rows
    assert sum(phase.size.samples.values()) == 512
    assert 0.02 < by_samples < 0.05
    assert 0.10 < by_rows < 0.40
