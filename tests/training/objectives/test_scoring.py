"""A frozen scorer: what it says of a true image, who learns from it, and who must not."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny_run import VISION, TinySources, draw, make_collator, run_model, run_vae, trained_tokenizer
from torch import Tensor
from transformers import (
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.config.training import ObjectiveConfig
from janusflow.data.batches.collate import TrainBatch
from janusflow.training.engine.loop import accumulate_gradients
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.objectives.scoring import PairScorer, TowerScorer, load_scorer

TEXT = {**VISION, "max_position_embeddings": 16, "vocab_size": 600}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SigLIP in transformers' layout: model, tokenizer, how images are normalised."""
    folder = tmp_path_factory.mktemp("pair")
    torch.manual_seed(0)
    SiglipModel(SiglipConfig(vision_config=VISION, text_config=TEXT)).save_pretrained(folder)
    backend = trained_tokenizer()
    PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=backend.id_to_token(2), model_input_names=["input_ids"]
    ).save_pretrained(folder)
    SiglipImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]).save_pretrained(
        folder
    )
    return folder


class MeanColour(torch.nn.Module):
    """Features that can be worked out by hand: an image's mean colour; every text means red."""

    def image_features(self, pixel_values: Tensor) -> Tensor:
        return pixel_values.mean((2, 3))

    def prompt_features(self, prompts: Sequence[str]) -> Tensor:
        return torch.tensor([[1.0, 0.0, 0.0]]).expand(len(prompts), -1)


def batch_of(sources: TinySources, num: int = 3) -> TrainBatch:
    return make_collator(run_model())(draw(sources, *["generation"] * num))


def test_the_towers_features_of_a_image_are_the_mean_of_its_patches(sources: TinySources):
    model = run_model()
    scorer = TowerScorer(model)
    images = torch.stack([sources.pixels(0), sources.pixels(1)])
    with torch.no_grad():
        wanted = model.understanding_features(images).mean(1)
        torch.testing.assert_close(scorer.image_features(images), wanted)
        model.understanding_encoder.apply(lambda m: [p.zero_() for p in m.parameters()])
        torch.testing.assert_close(scorer.image_features(images), wanted)


def test_the_score_is_the_cosine_of_the_estimates_features_and_the_images(sources: TinySources):
    """The estimate is where the predicted velocity leads in a straight line to time 1."""
    model, vae, batch = run_model(), run_vae(), batch_of(sources)
    objective = JanusFlowObjective(
        model,
        ObjectiveConfig(alignment="score", drop_prompt=0.0),
        vae=vae,
        scorer=MeanColour(),
    )
    drawings = batch.drawings
    assert drawings is not None
    seen: list[Tensor] = []
    decode = vae.decode

    def remembered(latents: Tensor):
        seen.append(latents)
        return decode(latents)

    vae.decode = remembered
    with torch.no_grad():
        loss = objective(batch)["score"]
        decoded = decode(seen[0]).sample
    found, wanted = decoded.mean((2, 3)), drawings.pixel_values.mean((2, 3))
    cosine = (found * wanted).sum(1) / found.norm(dim=1) / wanted.norm(dim=1)
    assert loss.item() == pytest.approx(-cosine.sum().item(), rel=1e-4)
    assert objective.loss_counts(batch)["score"] == 3


def test_drawing_learns_from_the_score_and_scorer_tower_and_vae_do_not(sources: TinySources):
    model, vae, batch = run_model(), run_vae(), batch_of(sources)
    config = ObjectiveConfig(alignment="score", flow_weight=0.0)
    objective = JanusFlowObjective(model, config, vae=vae, scorer=TowerScorer(model))
    losses, _ = accumulate_gradients(objective, [batch])
    assert set(losses) == {"flow_mse", "score"}
    assert -1 <= losses["score"].item() <= 1
    touched = {
        name.split(".")[1] if name.startswith("model.") else name.split(".")[0]
        for name, p in objective.named_parameters()
        if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert {"generation_decoder", "generation_encoder", "llm"} <= touched
    assert not touched & {"understanding_encoder", "vae", "scorer", "repa_head"}


def test_a_hidden_prompt_is_not_scored_and_others_are_by_what_they_say(sources: TinySources):
    model, batch = run_model(), batch_of(sources)

    def score(drop: float) -> float:
        config = ObjectiveConfig(
            alignment="score", score_against="prompt", scorer="a pair", drop_prompt=drop
        )
        objective = JanusFlowObjective(model, config, vae=run_vae(), scorer=MeanColour())
        with torch.no_grad():
            return objective(batch)["score"].item()

    assert score(1.0) == 0.0
    config = ObjectiveConfig(alignment="score", drop_prompt=0.0)
    objective = JanusFlowObjective(model, config, vae=run_vae(), scorer=MeanColour())
    with torch.no_grad():
        against_images = objective(batch)["score"].item()
    assert 0.0 != score(0.0) != against_images


@torch.no_grad()
def test_a_pair_sees_images_as_its_own_processor_shows_them(pair: Path, sources: TinySources):
    scorer = load_scorer(ObjectiveConfig(alignment="score", scorer=str(pair)), run_model())
    assert isinstance(scorer, PairScorer)
    image = sources.pixels(0)[None]
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6])
    shown = ((image + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    own = SiglipModel.from_pretrained(pair)
    wanted = own.get_image_features(pixel_values=shown).pooler_output
    torch.testing.assert_close(scorer.image_features(image), wanted, atol=1e-5, rtol=0)
    read = scorer.prompt_features(["a red circle", "two words " * 40])
    assert read.shape == (2, VISION["hidden_size"])
    alone = scorer.prompt_features(["a red circle"])
    torch.testing.assert_close(read[:1], alone, atol=1e-5, rtol=0)
    assert (read[0] - read[1]).abs().max() > 1e-5


def test_half_a_pair_or_none_is_one_clear_line(tmp_path: Path):
    SiglipVisionModel(SiglipVisionConfig(**VISION)).save_pretrained(tmp_path / "half")
    for where in (str(tmp_path / "half"), str(tmp_path)):
        with pytest.raises(CheckpointError, match="CLIP or SigLIP") as told:
            PairScorer(where)
        assert "\n" not in str(told.value)


def test_a_score_without_a_scorer_or_a_vae_is_refused():
    config = ObjectiveConfig(alignment="score")
    with pytest.raises(ConfigError, match="without a scorer"):
        JanusFlowObjective(run_model(), config, vae=run_vae())
    with pytest.raises(ConfigError, match="without a VAE"):
        JanusFlowObjective(run_model(), config, scorer=MeanColour())
