"""Draw with a model in training and judge what it drew, for `janusflow train` to learn from it."""

from collections.abc import Sequence

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from janusflow.config.learning.preference import PreferenceConfig
from janusflow.inference.drawing.batches import DrawingStep
from janusflow.inference.pipeline import JanusFlow
from janusflow.inference.previews import IN_TRAINING
from janusflow.inference.rewards import rewards_of
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor


class OwnRollouts:
    """Drawings by `jf.generate`, judged by the model's own answers or by any function."""

    def draw(
        self,
        model: JanusFlowForConditionalGeneration,
        processor: JanusFlowProcessor,
        vae: AutoencoderKL,
        config: PreferenceConfig,
        *,
        prompt: str,
        seeds: Sequence[int],
    ) -> tuple[Float[Tensor, "k c y x"], list[Image.Image]]:
        """An image of the prompt for each seed, and the latents before decoding.

        The first ones are drawn from plans, `config.planned` of them: `info["plan"]` has it.
        """
        jf = JanusFlow(model=model, processor=processor, vae=vae, name=IN_TRAINING)
        ends = list[Tensor]()

        def keep(step: DrawingStep) -> None:
            if step.index + 1 == step.steps:
                ends.append(step.info.x_next)

        images = list[Image.Image]()
        num_planned = round(config.planned * len(seeds))
        for plan, some in (("always", seeds[:num_planned]), ("never", seeds[num_planned:])):
            if some:
                images += jf.generate(
                    prompt,
                    num_images=len(some),
                    seed=[*some],
                    steps=config.drawing_steps,
                    guidance=config.guidance,
                    solver=config.solver,
                    plan=plan,
                    batch_size=len(some),
                    on_step=keep,
                )
        return torch.cat(ends), images

    def judge(
        self,
        model: JanusFlowForConditionalGeneration,
        processor: JanusFlowProcessor,
        vae: AutoencoderKL,
        config: PreferenceConfig,
        *,
        prompt: str,
        images: Sequence[Image.Image],
    ) -> dict[str, list[float]]:
        """What every reward says of each image."""
        jf = JanusFlow(model=model, processor=processor, vae=vae, name=IN_TRAINING)
        return rewards_of(jf, prompt, images, config.rewards)
