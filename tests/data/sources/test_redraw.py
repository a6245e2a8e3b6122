"""RecA: an image to draw is seen instead of described, whatever its source."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import PREPARE
from PIL import Image
from tiny_run import draw, make_collator, make_sources, run_model, run_vae

from janusflow.config.data import SourceConfig
from janusflow.config.errors import ConfigError, DataError
from janusflow.config.training import ObjectiveConfig
from janusflow.data.samples import GenerationSample
from janusflow.data.sources.formats import open_source
from janusflow.data.sources.redraw import redrawn
from janusflow.training.objectives.janusflow import JanusFlowObjective

WORDS = "Describe the picture."


@pytest.mark.parametrize("streaming", [False, True])
def test_a_row_of_files_is_drawn_from_its_own_image(tmp_path: Path, streaming: bool):
    Image.new("RGB", (70, 64), "red").save(tmp_path / "red.png")
    row = json.dumps({"image": "red.png", "caption": "all red"})
    (tmp_path / "pairs.jsonl").write_text(row, encoding="utf-8")
    config = SourceConfig(
        format="captions",
        path=str(tmp_path / "pairs.jsonl"),
        redraw=WORDS,
        options={"streaming": True} if streaming else {},
    )
    ((source, _),) = open_source("generation", config, PREPARE)
    sample = source.sample(0, np.random.default_rng(0))
    assert isinstance(sample, GenerationSample)
    assert sample.prompt == f"{PREPARE.image_tag}\n{WORDS}"
    assert sample.pixel_values is not None
    assert torch.equal(sample.images[0], sample.pixel_values)
    assert "red" not in sample.prompt


def test_only_images_to_draw_can_be_redrawn(tmp_path: Path):
    config = SourceConfig(format="chat", path=str(tmp_path), redraw=WORDS)
    with pytest.raises(ConfigError, match=r"redraw=.Describe the picture\.. of a source of u"):
        open_source("understanding", config, PREPARE)
    bare = GenerationSample(prompt="x", pixel_values=None, seed=0)
    with pytest.raises(DataError, match="without pixels or features of the image"):
        redrawn(bare, WORDS, image_tag="<image>")


def test_the_velocity_then_depends_on_the_image_seen_and_not_on_the_caption(tmp_path: Path):
    """The same image to draw, after another one was seen, costs another loss."""
    sources, model = make_sources(tmp_path), run_model()
    (sample,) = draw(sources, "generation")
    assert isinstance(sample, GenerationSample)
    tag = "<image_placeholder>"
    seen = redrawn(sample, WORDS, image_tag=tag)
    objective = JanusFlowObjective(
        model, ObjectiveConfig(alignment="none", drop_prompt=0.0), vae=run_vae()
    )
    collate = make_collator(model)

    def loss_of(sample: GenerationSample) -> float:
        batch = collate([sample])
        assert batch.batch_stats["understanding_images"] == len(sample.images)
        assert batch.drawings is not None
        return objective(batch)["flow_mse"].item()

    assert loss_of(seen) == loss_of(redrawn(replace(sample, prompt="x"), WORDS, image_tag=tag))
    other = replace(seen, images=(sources.pixels(0) * 0,))
    assert len({loss_of(seen), loss_of(other), loss_of(sample)}) == 3
    hidden = JanusFlowObjective(
        model, ObjectiveConfig(alignment="none", drop_prompt=1.0), vae=run_vae()
    )
    # A hidden prompt hides its image, too.
    assert torch.equal(hidden(collate([seen]))["flow_mse"], hidden(collate([other]))["flow_mse"])
