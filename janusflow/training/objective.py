"""What JanusFlow minimises in every stage: L_AR on answers, L_RF and L_REPA on pictures."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from janusflow.config.training import ObjectiveConfig
from janusflow.data.collate import IGNORED, DrawingRows, TextRows, TrainBatch, segment_mask
from janusflow.flow.path import point_on_path
from janusflow.flow.times import sample_logit_normal
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import Prompt, unconditional
from janusflow.training.loop import Objective
from janusflow.training.losses import alignment_loss, response_loss, velocity_loss


class JanusFlowObjective(Objective):
    """The paper's total loss over one mixed batch."""

    def __init__(self, model: JanusFlowForConditionalGeneration, config: ObjectiveConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def counts(self, batch: TrainBatch) -> dict[str, int]:
        """Learnt tokens, latent values, patches to align."""
        reading, drawing = batch.reading, batch.drawing
        num_tokens = 0 if reading is None else int((reading.labels[:, 1:] != IGNORED).sum())
        counts = {"text": num_tokens, "flow": 0 if drawing is None else drawing.latents.numel()}
        if self.config.repa_weight > 0:
            counts["repa"] = len(drawing or ()) * self.model.config.flow.num_tokens
        return counts

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Weighted losses, one entry for each kind the batch holds."""
        losses: dict[str, Tensor] = {}
        if batch.reading is not None:
            losses["text"] = self.config.text_weight * self._reading(batch.reading)
        if batch.drawing is not None:
            losses |= self._drawing(batch.drawing)
        return losses

    def _reading(self, rows: TextRows) -> Tensor:
        embeds = self.model.embed_conversation(rows.token_ids, rows.pixel_values)
        mask = segment_mask(rows.segments).to(embeds.dtype)
        return response_loss(self.model.logits(embeds, mask, rows.position_ids), rows.labels)

    def _drawing(self, rows: DrawingRows) -> dict[str, Tensor]:
        config = self.config
        chance = sample_chance(rows, config)
        point = point_on_path(data=rows.latents, noise=chance.noise, t=chance.t)
        prediction = self.model.predict(
            point.x_t,
            point.t,
            drop_prompts(rows.prompt, chance.is_dropped),
            align=config.repa_weight > 0,
        )
        losses = {"flow": config.flow_weight * velocity_loss(prediction.velocity, point.velocity)}
        if prediction.alignment is not None:
            with torch.no_grad():
                features = self.model.understanding_features(rows.pixel_values)
            losses["repa"] = config.repa_weight * alignment_loss(prediction.alignment, features)
        return losses


class Chance(NamedTuple):
    """What is random about learning to draw some pictures."""

    t: Float[Tensor, " b"]
    noise: Float[Tensor, "b c y x"]
    is_dropped: Bool[Tensor, " b"]


def sample_chance(rows: DrawingRows, config: ObjectiveConfig) -> Chance:
    """Draw every picture's time, noise and prompt drop from its own seed."""
    t, noise, is_dropped = [], [], []
    for seed in rows.seeds:
        generator = torch.Generator().manual_seed(seed)
        t.append(
            sample_logit_normal(1, mean=config.time_mean, std=config.time_std, generator=generator)
        )
        noise.append(torch.randn(rows.latents.shape[1:], generator=generator))
        is_dropped.append(torch.rand(1, generator=generator) < config.drop_prompt)
    return Chance(torch.cat(t), torch.stack(noise), torch.cat(is_dropped))


def drop_prompts(prompt: Prompt, is_dropped: Tensor) -> Prompt:
    """Hide some rows' prompts as the unconditional branch does at inference."""
    hidden = unconditional(prompt)
    mask = torch.where(is_dropped[:, None], hidden.attention_mask, prompt.attention_mask)
    return Prompt(token_ids=prompt.token_ids, attention_mask=mask, position_ids=prompt.position_ids)
