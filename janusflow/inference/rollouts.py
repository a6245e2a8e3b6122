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
        """An image of the prompt for each seed, without plans, and the latents before decoding."""
        jf = JanusFlow(model=model, processor=processor, vae=vae, name=IN_TRAINING)
        ends = list[Tensor]()

        def keep(step: DrawingStep) -> None:
            if step.index + 1 == step.steps:
                ends.append(step.info.x_next)

        images = jf.generate(
            prompt,
            num_images=len(seeds),
            seed=[*seeds],
            steps=config.drawing_steps,
            guidance=config.guidance,
            solver=config.solver,
            plan="never",
            batch_size=len(seeds),
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
