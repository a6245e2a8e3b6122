"""Operations by the tally, against the exact counter; what devices can do, by their names."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_run import TinySources, draw, make_collator, run_model, run_vae
from tiny_stage import stage_recipe, write_parts
from torch import Tensor
from torch.nn import functional

from janusflow.config.gpus import GPUS
from janusflow.config.recipes import StageRecipe
from janusflow.config.training import ObjectiveConfig
from janusflow.data.collate import Collator
from janusflow.data.formats import open_sources
from janusflow.data.mixture import mixed_batches, sources_by_kind
from janusflow.data.prepare import preparation
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.training.estimate.sizes import sizes_of
from janusflow.training.estimate.utilisation import (
    batch_flops,
    device_tflops,
    flops_by_tally,
    objective_without_memory,
    small_batches,
)
from janusflow.training.objectives.janusflow import JanusFlowObjective

DRAWING = {"understanding": 0, "generation": 1, "text": 0}
PAPER = [{"understanding": 3, "generation": 5, "text": 2, "until": 5}, DRAWING | {"text": 0.3}]
STAGE1 = ["aligners", "generation_encoder", "generation_decoder", "repa_head"]
EVERYTHING = [*STAGE1, "llm", "understanding_encoder"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("parts"))


def told_and_counted(recipe: StageRecipe, *, steps: tuple[int, ...]) -> list[tuple[float, int]]:
    """Operations of real steps: by their tallies, and by the counter."""
    config = sizes_of(recipe).model.config
    processor, vae = JanusFlowProcessor.from_pretrained(recipe.processor), run_vae()
    sources = open_sources(sources_by_kind(recipe.data), preparation(processor, config, vae))
    tokenizer, row_tokens = processor.tokenizer.backend_tokenizer, recipe.mixture.row_tokens
    collate = Collator(tokenizer, config, row_tokens=row_tokens)
    objective = objective_without_memory(recipe, config, vae)
    flops = flops_by_tally(objective, small_batches(recipe, sources, collate))
    found = []
    for step in steps:
        batches = next(
            mixed_batches(
                sources,
                collate,
                recipe.mixture,
                seed=1,
                step=step,
                own_parts=lambda items: [items[:3], items[3:]],
            )
        )
        tally = Counter[str]()
        for batch in batches:
            tally.update(objective.tally(batch))
        found.append((flops(tally), sum(batch_flops(objective, batch) for batch in batches)))
    return found


@pytest.mark.parametrize(
    ("trainable", "ratios", "changes"),
    [
        (STAGE1, [{"understanding": 1, "generation": 1, "text": 0}], {}),
        (EVERYTHING, PAPER, {}),
        (["llm"], [{"understanding": 0, "generation": 0, "text": 1}], {}),
        (EVERYTHING, [DRAWING], {"objective": {"alignment": "score"}}),
        (EVERYTHING, PAPER, {"has_latents": False}),
    ],
    ids=["stage 1", "stages 2 and 3", "language", "scored drawing", "without latents"],
)
def test_operations_by_the_tally_are_those_counted(
    root: Path, trainable: list[str], ratios: list[Any], changes: dict[str, Any]
):
    """Of steps of other sizes, lengths, padding and shares than those that were counted."""
    if changes == {"has_latents": False}:
        scenes = {"format": "scenes", "path": str(root / "scenes")}
        drawn = {"format": "captions", "path": write_pictures(root / "pictures")}
        changes = {"data": {"understanding": [scenes], "generation": [drawn], "text": [scenes]}}
    mixture = {"batch_size": 14, "row_tokens": 450, "ratios": ratios}
    recipe = stage_recipe(root, mixture=mixture, trainable=trainable, **changes)
    for told, counted in told_and_counted(recipe, steps=(3, 7)):
        assert told == pytest.approx(counted, rel=1e-3)


def write_pictures(folder: Path) -> str:
    """A folder of pictures with captions of several lengths."""
    folder.mkdir()
    lines = []
    for number in range(6):
        Image.new("RGB", (70, 64 + number)).save(folder / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "caption": "red " * (number + 1)}))
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", GPUS["h100"].bf16_tflops),
        ("NVIDIA A100-SXM4-40GB", GPUS["a100-40gb"].bf16_tflops),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA L40", None),
    ],
)
def test_a_gpu_is_known_by_the_whole_name_its_driver_gives(
    monkeypatch: pytest.MonkeyPatch, name: str, expected: float | None
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    assert device_tflops("bf16") == expected
    if expected is not None:
        told = device_tflops("fp32")
        assert told is not None
        assert told < expected / 4


def test_without_a_gpu_there_is_no_peak(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_tflops("bf16") is None


def test_pairs_are_tallied_as_their_scores_are_computed(
    sources: TinySources, monkeypatch: pytest.MonkeyPatch
):
    """On a CPU within samples; the tower's attention, which has no mask, is no pair of the LLM."""
    num_scores, original = [], functional.scaled_dot_product_attention

    def counted(query: Tensor, key: Tensor, *rest: Any, attn_mask: Any, **settings: Any) -> Tensor:
        if attn_mask is not None:
            num_scores.append(query.shape[0] * query.shape[-2] * key.shape[-2])
        return original(query, key, *rest, attn_mask=attn_mask, **settings)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    model = run_model()
    batch = make_collator(model)(draw(sources, "understanding", "generation", "text", "generation"))
    objective = JanusFlowObjective(model, ObjectiveConfig())
    objective(batch)
    layers = model.config.llm_config.num_hidden_layers
    assert layers * objective.tally(batch)["pairs"] == sum(num_scores)
