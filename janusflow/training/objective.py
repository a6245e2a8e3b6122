"""What JanusFlow minimises in every stage: L_AR on answers, L_RF and L_REPA on pictures."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from janusflow.config.errors import ConfigError
from janusflow.config.training import ObjectiveConfig
from janusflow.data.collate import IGNORED, NO_PROMPT, Drawings, TrainBatch
from janusflow.flow.path import point_on_path
from janusflow.flow.times import sample_logit_normal
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.rows import NOBODY, Rows
from janusflow.training.base import Objective
from janusflow.training.losses import alignment_loss, response_loss, velocity_loss


class JanusFlowObjective(Objective):
    """The paper's total loss over one mixed batch.

    The frozen VAE encodes pictures to draw whose latents the batch does not bring.
    """

    def __init__(
        self,
        model: JanusFlowForConditionalGeneration,
        config: ObjectiveConfig,
        *,
        vae: AutoencoderKL | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.vae = vae
        if vae is not None:
            vae.requires_grad_(False)

    def counts(self, batch: TrainBatch) -> dict[str, int]:
        """Learnt tokens, latent values, patches to align."""
        drawings = batch.drawings
        counts = {"text": int((batch.labels != IGNORED).sum())}
        flow = self.model.config.flow
        counts["flow"] = len(drawings or ()) * flow.latent_channels * flow.latent_size**2
        if self.config.repa_weight > 0:
            counts["repa"] = len(drawings or ()) * flow.num_tokens
        return counts

    def tally(self, batch: TrainBatch) -> dict[str, int]:
        """Samples by kind, tokens, positions and pictures."""
        return batch.tally

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Weighted losses, those the batch has something for."""
        config, rows, drawings = self.config, batch.rows, batch.drawings
        is_learnt = batch.labels != IGNORED
        point = None
        if drawings is not None:
            latents = self._latents(drawings)
            chance = sample_chance(
                drawings.seeds, tuple(latents.shape[1:]), config, device=latents.device
            )
            point = point_on_path(data=latents, noise=chance.noise, t=chance.t)
            rows = hide_prompts(rows, drawings.prompt_of, chance.is_dropped)
        reading = self.model.read_rows(
            rows,
            is_learnt=is_learnt,
            pixel_values=batch.pixel_values,
            x_t=None if point is None else point.x_t,
            t=None if point is None else point.t,
            align=drawings is not None and config.repa_weight > 0,
        )
        losses: dict[str, Tensor] = {}
        if len(reading.logits):
            loss = response_loss(reading.logits, batch.labels[is_learnt])
            losses["text"] = config.text_weight * loss
        if reading.velocity is not None and point is not None:
            losses["flow"] = config.flow_weight * velocity_loss(reading.velocity, point.velocity)
        if reading.alignment is not None and drawings is not None:
            with torch.no_grad():
                features = self.model.understanding_features(drawings.pixel_values)
            losses["repa"] = config.repa_weight * alignment_loss(reading.alignment, features)
        return losses

    def blocks(self) -> Sequence[nn.Module]:
        """The LLM's layers."""
        return list(cast(nn.ModuleList, self.model.llm.base_model.layers))

    def frozen(self) -> Sequence[nn.Module]:
        """The VAE."""
        return () if self.vae is None else (self.vae,)

    @torch.no_grad()
    def _latents(self, drawings: Drawings) -> Float[Tensor, "p c y x"]:
        if drawings.latents is not None:
            return drawings.latents
        if self.vae is None:
            raise ConfigError(
                f"{len(drawings)} pictures to draw came without latents: give the objective a VAE."
            )
        (posterior,) = self.vae.encode(drawings.pixel_values.to(self.vae.dtype), return_dict=False)
        return posterior.mean.float() * float(self.vae.config["scaling_factor"])


class Chance(NamedTuple):
    """What is random about learning to draw some pictures."""

    t: Float[Tensor, " b"]
    noise: Float[Tensor, "b c y x"]
    is_dropped: Bool[Tensor, " b"]


def sample_chance(
    seeds: Sequence[int],
    shape_of_one: tuple[int, ...],
    config: ObjectiveConfig,
    *,
    device: torch.device,
) -> Chance:
    """Draw every picture's time, noise and prompt drop from its own seed, alike on all devices."""
    t, noise, is_dropped = [], [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        t.append(
            sample_logit_normal(1, mean=config.time_mean, std=config.time_std, generator=generator)
        )
        noise.append(torch.randn(shape_of_one, generator=generator))
        is_dropped.append(torch.rand(1, generator=generator) < config.drop_prompt)
    drawn = (torch.cat(t), torch.stack(noise), torch.cat(is_dropped))
    return Chance(*(values.to(device) for values in drawn))


def hide_prompts(rows: Rows, prompt_of: Int[Tensor, "b t"], is_dropped: Bool[Tensor, " p"]) -> Rows:
    """Hide dropped prompts as inference's unconditional branch does: positions are kept."""
    is_hidden = (prompt_of != NO_PROMPT) & is_dropped[prompt_of]
    return replace(rows, samples=rows.samples.masked_fill(is_hidden, NOBODY))
