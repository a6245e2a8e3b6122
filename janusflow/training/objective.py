"""What JanusFlow minimises in every stage: L_AR on answers, L_RF and L_REPA on pictures."""

import torch
from torch import Tensor

from janusflow.config.training import ObjectiveConfig
from janusflow.data.collate import DrawingRows, TextRows, TrainBatch, segment_mask
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

    def forward(self, batch: TrainBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Weighted losses, one entry for each kind the batch holds."""
        losses: dict[str, Tensor] = {}
        if batch.reading is not None:
            losses["text"] = self.config.text_weight * self._reading(batch.reading)
        if batch.drawing is not None:
            losses |= self._drawing(batch.drawing, generator)
        return losses

    def _reading(self, rows: TextRows) -> Tensor:
        embeds = self.model.embed_conversation(rows.token_ids, rows.pixel_values)
        mask = segment_mask(rows.segments).to(embeds.dtype)
        return response_loss(self.model.logits(embeds, mask, rows.position_ids), rows.labels)

    def _drawing(self, rows: DrawingRows, generator: torch.Generator) -> dict[str, Tensor]:
        config = self.config
        t = sample_logit_normal(
            len(rows), mean=config.time_mean, std=config.time_std, generator=generator
        )
        noise = torch.randn(rows.latents.shape, generator=generator)
        point = point_on_path(data=rows.latents, noise=noise, t=t)
        is_dropped = torch.rand(len(rows), generator=generator) < config.drop_prompt
        prediction = self.model.predict(
            point.x_t,
            point.t,
            drop_prompts(rows.prompt, is_dropped),
            align=config.repa_weight > 0,
        )
        losses = {"flow": config.flow_weight * velocity_loss(prediction.velocity, point.velocity)}
        if prediction.alignment is not None:
            with torch.no_grad():
                features = self.model.understanding_features(rows.pixel_values)
            losses["repa"] = config.repa_weight * alignment_loss(prediction.alignment, features)
        return losses


def drop_prompts(prompt: Prompt, is_dropped: Tensor) -> Prompt:
    """Hide some rows' prompts as the unconditional branch does at inference."""
    hidden = unconditional(prompt)
    mask = torch.where(is_dropped[:, None], hidden.attention_mask, prompt.attention_mask)
    return Prompt(token_ids=prompt.token_ids, attention_mask=mask, position_ids=prompt.position_ids)
