"""What JanusFlow minimises in every stage: L_AR on answers, L_RF and an alignment on images."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from janusflow.config.errors import ConfigError
from janusflow.config.training import ObjectiveConfig
from janusflow.data.batches.collate import NO_PROMPT_SEGMENT, Drawings, TrainBatch
from janusflow.flow.path import PathPoint, per_example, point_on_path
from janusflow.flow.times import sample_logit_normal
from janusflow.interop.vae import decode_images, encode_images
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.packed_attention import use_packed_attention
from janusflow.model.rows import PAD_SEGMENT, Rows
from janusflow.training.objectives.base import Objective

AS_IT_IS = torch.autocast("cpu", enabled=False)
"""What is frozen computes in its own precision; on other devices FSDP never touches it."""


class JanusFlowObjective(Objective):
    """The paper's total loss over one mixed batch.

    The frozen VAE encodes images to draw whose latents the batch does not bring,
    `vae_batch_size` at a time, and decodes estimates for the scorer, which is frozen too.

    Raises:
        ConfigError: `config` asks for a score, and there is no scorer or no VAE.
    """

    def __init__(
        self,
        model: JanusFlowForConditionalGeneration,
        config: ObjectiveConfig,
        *,
        vae: AutoencoderKL | None = None,
        vae_batch_size: int | None = None,
        scorer: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.vae, self.vae_batch_size = vae, vae_batch_size
        self.scorer = scorer
        if config.alignment == "score" and (vae is None or scorer is None):
            raise ConfigError(
                f"alignment={config.alignment} without a {'VAE' if vae is None else 'scorer'}: "
                "give the objective both."
            )
        use_packed_attention(model.llm)
        for frozen in (vae, scorer):
            if frozen is not None:
                frozen.requires_grad_(False)

    def loss_counts(self, batch: TrainBatch) -> dict[str, int]:
        """Learnt tokens, latent values, patches to align or images to score."""
        drawings = batch.drawings
        num_text = int(batch.is_text.flatten()[batch.learnt_positions].sum())
        counts = {"ce_answer": len(batch.learnt_positions) - num_text, "ce_text": num_text}
        flow = self.model.config.generation
        counts["flow_mse"] = len(drawings or ()) * flow.latent_channels * flow.latent_size**2
        if self.config.aligns:
            each = flow.num_tokens if self.config.uses_head else 1
            counts[self.config.alignment] = len(drawings or ()) * each
        return counts

    def loss_denominators(self, counts: dict[str, int]) -> dict[str, int]:
        """L_AR is one mean over all learnt tokens, those of answers and of plain texts."""
        return counts | dict.fromkeys(
            ("ce_answer", "ce_text"), counts["ce_answer"] + counts["ce_text"]
        )

    def batch_stats(self, batch: TrainBatch) -> dict[str, int]:
        """What the batch tallies, pairs of positions with scores, and positions with logits.

        Scores are those of whole rows, on a CPU those within samples; logits those of learnt
        tokens.
        """
        num_rows, length = batch.labels.shape
        pairs = num_rows * length**2
        if self.model.device.type == "cpu":
            pairs = sum((stop - start) ** 2 for _, start, stop in batch.rows.spans())
        return batch.batch_stats | {"pairs": pairs, "logits": len(batch.learnt_positions)}

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Weighted losses, those the batch has something for."""
        config, rows, drawings = self.config, batch.rows, batch.drawings
        point, is_dropped = None, None
        if drawings is not None:
            point, is_dropped = self.points(drawings)
            rows = drop_prompts(rows, drawings.prompt_of, is_dropped)
        reading = self.model.read_rows(
            rows,
            learnt_positions=batch.learnt_positions,
            pixel_values=self._seen(batch),
            features=batch.features,
            x_t=None if point is None else point.x_t,
            t=None if point is None else point.t,
            align=drawings is not None and config.uses_head,
        )
        losses: dict[str, Tensor] = {}
        if len(reading.logits):
            labels = batch.labels.flatten()[batch.learnt_positions]
            is_text = batch.is_text.flatten()[batch.learnt_positions]
            surprise = config.text_weight * response_loss(reading.logits, labels)
            losses["ce_answer"] = surprise.masked_fill(is_text, 0).sum()
            losses["ce_text"] = surprise.masked_fill(~is_text, 0).sum()
        if drawings is None or point is None or is_dropped is None or reading.velocity is None:
            return losses
        losses["flow_mse"] = config.flow_weight * velocity_loss(reading.velocity, point.velocity)
        weighted = config.alignment_weight
        if config.aligns and config.alignment == "score":
            estimate = point.x_t + (1 - per_example(point.t, point.x_t)) * reading.velocity
            losses["score"] = weighted * self._score(estimate, drawings, is_dropped=is_dropped)
        elif reading.alignment is not None:
            loss = alignment_loss
            if config.alignment == "contrastive":
                loss = partial(contrastive_loss, temperature=config.temperature)
            losses[config.alignment] = weighted * loss(reading.alignment, self._features(drawings))
        return losses

    def points(self, drawings: Drawings) -> tuple[PathPoint, Bool[Tensor, " p"]]:
        """Where on their paths images are learnt, and whose prompt is hidden, by their seeds."""
        latents = self._latents(drawings)
        shape = tuple(latents.shape[1:])
        flow_noise = sample_flow_noise(drawings.seeds, shape, self.config, device=latents.device)
        point = point_on_path(data=latents, noise=flow_noise.noise, t=flow_noise.t)
        return point, flow_noise.is_dropped

    @torch.no_grad()
    def _features(self, drawings: Drawings) -> Float[Tensor, "p k w"]:
        if drawings.features is not None:
            return drawings.features
        return self.model.understanding_features(cast(Tensor, drawings.pixel_values))

    @AS_IT_IS
    def _score(
        self,
        estimate: Float[Tensor, "p c y x"],
        drawings: Drawings,
        *,
        is_dropped: Bool[Tensor, " p"],
    ) -> Float[Tensor, ""]:
        """An image whose prompt is hidden is not asked to show it."""
        scorer: Any = self.scorer
        found = scorer.image_features(decode_images(cast(AutoencoderKL, self.vae), estimate))
        if self.config.score_against == "image":
            with torch.no_grad():
                wanted = scorer.image_features(drawings.pixel_values)
        else:
            with torch.no_grad():
                wanted = scorer.prompt_features(drawings.prompts)[~is_dropped]
            found = found[~is_dropped]
        return alignment_loss(found, wanted)

    def blocks(self) -> Sequence[nn.Module]:
        """The LLM's layers."""
        return list(cast(nn.ModuleList, self.model.llm.base_model.layers))

    def frozen(self) -> Sequence[nn.Module]:
        """The VAE and the scorer."""
        return [module for module in (self.vae, self.scorer) if module is not None]

    def _seen(self, batch: TrainBatch) -> Float[Tensor, "n c y x"] | None:
        if batch.pixel_values is None or not self.model.config.uses_latent_input:
            return batch.pixel_values
        return self._encoded(batch.pixel_values)

    def _latents(self, drawings: Drawings) -> Float[Tensor, "p c y x"]:
        if drawings.latents is not None:
            return drawings.latents
        if drawings.pixel_values is None:
            raise ConfigError(
                f"{len(drawings)} prompts without images: only preference learning (a recipe's "
                "preference section) reads prompts alone. Name a source with images."
            )
        return self._encoded(drawings.pixel_values)

    @torch.no_grad()
    @AS_IT_IS
    def _encoded(self, pixel_values: Float[Tensor, "n 3 y x"]) -> Float[Tensor, "n c y_z x_z"]:
        if self.vae is None:
            raise ConfigError(
                f"{len(pixel_values)} images came without latents: give the objective a VAE."
            )
        chunks = pixel_values.split(self.vae_batch_size or len(pixel_values))
        return torch.cat([encode_images(self.vae, chunk) for chunk in chunks])


class FlowNoise(NamedTuple):
    """What is random about learning to draw some images."""

    t: Float[Tensor, " b"]
    noise: Float[Tensor, "b c y x"]
    is_dropped: Bool[Tensor, " b"]


def sample_flow_noise(
    seeds: Sequence[int],
    shape_of_one: tuple[int, ...],
    config: ObjectiveConfig,
    *,
    device: torch.device,
) -> FlowNoise:
    """Draw every image's time, noise and prompt drop from its own seed, alike on all devices."""
    t, noise, is_dropped = [], [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        t.append(
            sample_logit_normal(1, mean=config.time_mean, std=config.time_std, generator=generator)
        )
        noise.append(torch.randn(shape_of_one, generator=generator))
        is_dropped.append(torch.rand(1, generator=generator) < config.drop_prompt)
    drawn = (torch.cat(t), torch.stack(noise), torch.cat(is_dropped))
    return FlowNoise(*(values.to(device) for values in drawn))


def drop_prompts(rows: Rows, prompt_of: Int[Tensor, "b t"], is_dropped: Bool[Tensor, " p"]) -> Rows:
    """Hide dropped prompts as inference's unconditional branch does: positions are kept."""
    is_hidden = (prompt_of != NO_PROMPT_SEGMENT) & is_dropped[prompt_of]
    return replace(rows, segment_ids=rows.segment_ids.masked_fill(is_hidden, PAD_SEGMENT))


# ---- losses: sums over what they are about, but for tokens, which are of two kinds -------------


def response_loss(logits: Float[Tensor, "n v"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """L_AR: cross entropy in nats of every learnt token; logits are those before each."""
    return cross_entropy(logits.float(), labels, reduction="none")


def velocity_loss(
    predicted: Float[Tensor, "b c y x"], velocity: Float[Tensor, "b c y x"]
) -> Float[Tensor, ""]:
    """L_RF: squared error of the velocity, summed over all latent values."""
    return (predicted.float() - velocity).square().sum()


def alignment_loss(
    predicted: Float[Tensor, "*shape w"], features: Float[Tensor, "*shape w"]
) -> Float[Tensor, ""]:
    """L_REPA: minus the cosine similarity, summed over patches; the features are a constant."""
    return -cosine_similarity(predicted.float(), features.detach().float(), dim=-1).sum()


def contrastive_loss(
    predicted: Float[Tensor, "b p w"], features: Float[Tensor, "b p w"], *, temperature: float
) -> Float[Tensor, ""]:
    """InfoNCE (van den Oord et al. 2018): every patch finds its own features, summed over patches.

    It looks among the patches of its own image only: with those of other images the loss would
    depend on how a step is split. The features are a constant.
    """
    targets = normalize(features.detach().float(), dim=-1)
    similarities = normalize(predicted.float(), dim=-1) @ targets.mT / temperature
    own = torch.arange(similarities.shape[-1], device=similarities.device)
    return cross_entropy(similarities.mT, own.expand(len(similarities), -1), reduction="sum")
