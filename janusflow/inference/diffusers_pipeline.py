"""`JanusFlowPipeline`: drawing as diffusers' users know it, by the same means as `jf.generate`.

    pipe = JanusFlowPipeline.from_pretrained("mini")
    pipe("a red circle", num_inference_steps=30, guidance_scale=2.0).images[0]

A scheduler of diffusers takes the place of our solvers: its steps are a sampler that asks for
velocities as ours do. Prompts are drawn as they are written; what `jf.generate` plans first,
`jf.plan` gives as text.
"""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils.torch_utils import randn_tensor
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from janusflow.config.errors import ConfigError, PromptError
from janusflow.config.guidance import schedule_of
from janusflow.flow import Sampler, VelocityQuery, guide, run_sampler
from janusflow.inference.drawing.latents import check_size, decode_latents, vae_factor
from janusflow.inference.drawing.prompts import PromptVelocity, encode_texts
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.loading import check_latents
from janusflow.interop.hub import find_folder, find_model
from janusflow.interop.load import load_model
from janusflow.interop.vae import decode_images, load_vae
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor

Generators = torch.Generator | list[torch.Generator]
Images = list[Image.Image] | np.ndarray | Float[Tensor, "b channel row column"]
OUTPUT_TYPES = ("pil", "np", "pt", "latent")
PARTS = ("model", "processor", "vae", "scheduler")
LATENTS = "latents"
FLOW = "flow_prediction"
"""The kind of prediction that is noise - data: our velocity, the other way round."""


class JanusFlowPipeline(DiffusionPipeline):
    """A model, its processor, its VAE and one of diffusers' flow matching schedulers."""

    model_cpu_offload_seq = "model->vae"
    _callback_tensor_inputs: ClassVar[list[str]] = [LATENTS]

    model: JanusFlowForConditionalGeneration
    processor: JanusFlowProcessor
    vae: AutoencoderKL
    scheduler: Any

    def __init__(
        self,
        model: JanusFlowForConditionalGeneration,
        processor: JanusFlowProcessor,
        vae: AutoencoderKL,
        scheduler: SchedulerMixin,
    ) -> None:
        super().__init__()
        check_latents(model, vae)
        self.register_modules(model=model, processor=processor, vae=vae, scheduler=scheduler)
        self._interrupt = False
        """Whether to leave out the steps to come: for callbacks, as in diffusers' own pipelines."""

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, **kwargs: Any
    ) -> "JanusFlowPipeline":
        """Load what `save_pretrained` wrote, a folder in our layout or the release's, or "mini".

        Args:
            pretrained_model_name_or_path: a folder, a hub id or "mini".
            **kwargs: dtype (or torch_dtype), and parts to take instead of those stored: model,
                processor, scheduler, vae (also as a folder or hub id: the release's folder has
                none). With a model_index.json all that diffusers knows.

        Raises:
            CheckpointError: there is no such model, or its files are missing or do not fit.
            ConfigError: an argument that only a folder with a model_index.json can have.
        """
        name = pretrained_model_name_or_path
        folder = find_folder(name)
        if (folder / cls.config_name).is_file():
            return super().from_pretrained(str(folder), **kwargs)
        dtype = kwargs.pop("torch_dtype", None)
        dtype = kwargs.pop("dtype", dtype) or torch.float32
        parts = {part: kwargs.pop(part, None) for part in PARTS}
        if kwargs:
            raise ConfigError(
                f"got {', '.join(kwargs)} for {name}, which has no {cls.config_name}: load it "
                "without, save_pretrained it and load that; or see janusflow.load."
            )
        folder = find_model(name)
        model = parts["model"] or load_model(folder, dtype=dtype)
        vae = parts["vae"]
        if not isinstance(vae, AutoencoderKL):
            # float16 overflows in the VAE.
            vae_dtype = torch.float32 if dtype == torch.float16 else dtype
            vae = load_vae(vae or model.config.vae, beside=folder, dtype=vae_dtype)
        return cls(
            model=model,
            processor=parts["processor"] or JanusFlowProcessor.from_pretrained(folder),
            vae=vae,
            scheduler=parts["scheduler"] or FlowMatchEulerDiscreteScheduler(),
        )

    @torch.no_grad()
    def __call__(  # noqa: PLR0913 (diffusers' names, in diffusers' order)
        self,
        prompt: str | Sequence[str],
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 30,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float | str = 2.0,
        negative_prompt: str | None = None,
        num_images_per_prompt: int = 1,
        generator: Generators | None = None,
        latents: Float[Tensor, "b c y x"] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = (LATENTS,),
    ) -> ImagePipelineOutput | tuple[Images]:
        """Draw images side by side, prompt by prompt.

        Args:
            prompt: one or several.
            height: in pixels; only the size that the model was trained for.
            width: as `height`.
            num_inference_steps: of the scheduler.
            sigmas: noise levels of the steps, falling from 1, instead of evenly spaced ones.
            guidance_scale: weight of classifier-free guidance, 1 is none; or a schedule over time
                as text (config/guidance.py).
            negative_prompt: what the unconditional branch reads, instead of nothing.
            num_images_per_prompt: of every prompt.
            generator: of the noise: one for all images, or one each. An image's generator with
                `jf.generate`'s seed gives its noise, and so its image.
            latents: the noise itself.
            output_type: "pil", "np" (b y x c in [0, 1]), "pt" (b c y x in [0, 1]) or "latent".
            return_dict: False gives a tuple of the images alone.
            callback_on_step_end: called after every step as f(pipe, step, timestep, tensors); the
                latents that it returns are gone on with.
            callback_on_step_end_tensor_inputs: tensors that it is given: ["latents"] or [].

        Raises:
            ConfigError: an argument is out of range, or another size is asked for.
            PromptError: there is no prompt, or it holds the model's own tags.
        """
        self._check(height, width, output_type, callback_on_step_end_tensor_inputs)
        DrawingSettings(steps=num_inference_steps, guidance=guidance_scale)  # refuses bad ones
        schedule = schedule_of(guidance_scale)
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        texts = [text for text in prompts for _ in range(num_images_per_prompt)]
        if not texts:
            asked = f"{len(prompts)} prompts, num_images_per_prompt={num_images_per_prompt}"
            raise PromptError(f"{asked}: give at least one of each.")
        noise = self._noise(len(texts), generator, latents)
        velocity = self._velocity(texts, negative_prompt, is_guided=schedule.is_guided)
        on_step = (callback_on_step_end, callback_on_step_end_tensor_inputs)
        steps = self._steps(noise, num_inference_steps, sigmas, on_step)
        sampler = guide(steps, schedule.weight)
        images: Any = self._decoded(run_sampler(sampler, velocity), output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    @property
    def image_size(self) -> int:
        """Rows and columns of a drawn image, in pixels."""
        return self.model.config.generation.latent_size * vae_factor(self.vae)

    def _velocity(
        self, texts: Sequence[str], negative_prompt: str | None, *, is_guided: bool
    ) -> PromptVelocity:
        """Every image's text read, ready to answer the sampler."""
        self._onload(self.model)
        encoding = encode_texts(
            self.model,
            self.processor,
            texts,
            is_guided=is_guided,
            negative_prompt=negative_prompt,
        )
        return PromptVelocity(self.model, encoding, [[text] for text in texts])

    def _steps(
        self,
        latents: Float[Tensor, "b c y x"],
        num_steps: int,
        sigmas: Sequence[float] | None,
        on_step: tuple[Callable[..., dict[str, Any]] | None, Sequence[str]],
    ) -> Sampler[Float[Tensor, "b c y x"]]:
        """The scheduler's steps as a sampler: its sigma is 1 - t, its velocity points to noise."""
        callback, names = on_step
        times = self._times(num_steps, sigmas)
        self._interrupt = False
        # Its decorator, torch.compiler.disable, hides its arguments from pyright.
        with self.progress_bar(total=len(times)) as bar:  # pyright: ignore[reportCallIssue]
            for index, (timestep, time) in enumerate(
                zip(self.scheduler.timesteps, times, strict=True)
            ):
                if self._interrupt:
                    break
                velocity = yield VelocityQuery(latents, time)
                latents = self.scheduler.step(
                    -velocity.to(latents.dtype), timestep, latents, return_dict=False
                )[0]
                if callback is not None:
                    given = {LATENTS: latents} if LATENTS in names else {}
                    latents = callback(self, index, timestep, given).pop(LATENTS, latents)
                bar.update()
        return latents

    def _times(self, num_steps: int, sigmas: Sequence[float] | None) -> list[float]:
        """The scheduler's noise levels, set and given as times.

        Raises:
            ConfigError: the scheduler is for another kind of model, or chooses its levels itself.
        """
        scheduler, config = self.scheduler, self.scheduler.config
        is_flow = config.get("prediction_type", FLOW) == FLOW and config.get(
            "use_flow_sigmas", True
        )
        if not is_flow:
            raise ConfigError(
                f"scheduler={type(scheduler).__name__} does not follow a flow: use "
                "FlowMatchEulerDiscreteScheduler or its like, or one with use_flow_sigmas=True and "
                f"prediction_type={FLOW!r}."
            )
        takes_sigmas = "sigmas" in inspect.signature(scheduler.set_timesteps).parameters
        if sigmas is None and takes_sigmas and "use_flow_sigmas" not in config:
            # The schedulers' own grid ends with a step a thousandth long.
            sigmas = np.linspace(1.0, 1.0 / num_steps, num_steps).tolist()
        if sigmas is not None and not takes_sigmas:
            raise ConfigError(
                f"sigmas={list(sigmas)} with {type(scheduler).__name__}, which chooses its own: "
                "leave them out, or use FlowMatchEulerDiscreteScheduler."
            )
        wanted = {"num_inference_steps": num_steps} if sigmas is None else {"sigmas": list(sigmas)}
        scheduler.set_timesteps(**wanted, device=self._execution_device)
        return [1.0 - level for level in scheduler.sigmas.tolist()][: len(scheduler.timesteps)]

    def _noise(
        self,
        num_images: int,
        generator: Generators | None,
        latents: Float[Tensor, "b c y x"] | None,
    ) -> Float[Tensor, "b c y x"]:
        flow, device = self.model.config.generation, self._execution_device
        shape = (num_images, flow.latent_channels, flow.latent_size, flow.latent_size)
        if latents is not None and latents.shape != shape:
            raise ConfigError(f"latents are {tuple(latents.shape)}: wanted {shape}.")
        if isinstance(generator, list) and len(generator) != num_images:
            raise ConfigError(
                f"{len(generator)} generators for {num_images} images: give one, or one each."
            )
        if latents is None:
            return randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        return latents.to(device, torch.float32)

    def _decoded(self, latents: Float[Tensor, "b c y x"], output_type: str) -> Images:
        if output_type == "latent":
            return latents
        if output_type == "pil":
            return decode_latents(self.vae, latents)
        pixels = (decode_images(self.vae, latents) / 2 + 0.5).clamp(0, 1)
        return VaeImageProcessor.pt_to_numpy(pixels) if output_type == "np" else pixels

    def _check(
        self, height: int | None, width: int | None, output_type: str, names: Sequence[str]
    ) -> None:
        size = self.image_size
        # Not `or`: 0 is refused as any other size is.
        pixels = [size if each is None else each for each in (width, height)]
        check_size("x".join(map(str, pixels)), trained=size)
        if output_type not in OUTPUT_TYPES:
            raise ConfigError(
                f"output_type={output_type!r} is unknown. Use one of: {', '.join(OUTPUT_TYPES)}."
            )
        if not set(names) <= {LATENTS}:
            raise ConfigError(
                f"callback_on_step_end_tensor_inputs={list(names)}: wanted some of [{LATENTS!r}]."
            )

    def _onload(self, part: torch.nn.Module) -> None:
        """Let enable_model_cpu_offload's hook act: it waits for `forward`, which drawing is not."""
        hook = getattr(part, "_hf_hook", None)
        if hook is not None:
            hook.pre_forward(part)
