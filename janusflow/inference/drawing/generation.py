"""From a request to its images: read the prompts, draw noise, follow the velocity, decode."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from janusflow.flow import StepInfo, run_sampler, sample_noise
from janusflow.inference.drawing.batches import (
    DrawingStep,
    GenerationRequest,
    OnImage,
    OnStep,
    batch_size_for,
)
from janusflow.inference.drawing.best_of import Answerer, Knowledge, Scorer, best, own_judgement
from janusflow.inference.drawing.inversion import inverted
from janusflow.inference.drawing.latents import decode_latents
from janusflow.inference.drawing.metadata import DrawingRecord, DrawnImage
from janusflow.inference.drawing.planning import plans_first, with_plans
from janusflow.inference.drawing.prompts import (
    PromptEncoding,
    PromptVelocity,
    encode_texts,
    prompt_of,
)
from janusflow.inference.drawing.sampling import image_sampler, num_steps
from janusflow.inference.upscaling.upscalers import make_upscaler
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor

log = logging.getLogger(__name__)


@runtime_checkable
class Pipeline(Answerer, Protocol):
    """The part of `janusflow.JanusFlow` that draws."""

    model: JanusFlowForConditionalGeneration
    processor: JanusFlowProcessor
    vae: AutoencoderKL
    name: str
    knowledge: Knowledge | None
    scorer: Scorer | None

    @property
    def image_size(self) -> int:
        """Rows and columns of a drawn image, in pixels."""
        ...

    def plan(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """What is drawn instead of prompts, a seed for each."""
        ...


def check_request(jf: Pipeline, request: GenerationRequest) -> GenerationRequest:
    """Refuse what cannot be drawn before any is, and invert the image to start from.

    Raises:
        PromptError: a prompt is none, or longer than the model's context.
        ConfigError: plans are asked for, and the model has not learnt to plan.
    """
    negative = () if request.negative_prompt is None else (request.negative_prompt,)
    prompt_of(jf.model, jf.processor, request.prompts + negative)
    is_planned(jf, request)
    if jf.knowledge is not None:
        for limits in filter(None, map(jf.knowledge.limits, dict.fromkeys(request.prompts))):
            log.warning("%s", limits)
    init_image = request.init_image
    if init_image is None or init_image.invert is None or init_image.inverted_noise is not None:
        return request
    init_image = inverted(init_image, jf.model, jf.processor, settings=request.settings)
    return replace(request, init_image=init_image)


def is_planned(jf: Pipeline, request: GenerationRequest) -> bool:
    """Whether the request's prompts are planned first."""
    has_learnt, has_init_image = jf.model.config.plans, request.init_image is not None
    return plans_first(request.settings, has_learnt=has_learnt, has_init_image=has_init_image)


@torch.no_grad()
def generate_images(
    jf: Pipeline,
    request: GenerationRequest,
    batch_size: int | None,
    *,
    on_step: OnStep | None = None,
    on_image: OnImage | None = None,
    progress: bool = False,
) -> list[Image.Image]:
    """Draw a request in batches; the arguments are those of `JanusFlow.generate`."""
    size = batch_size_for(request.settings, batch_size)
    request = check_request(jf, request)
    settings, records, prompts = request.settings, records_of(jf, request), None
    # Before drawing: its weights may have to be fetched.
    upscale = make_upscaler(settings.upscale, vae=jf.vae, device=jf.model.device, show=progress)
    steps = num_steps(settings, request.init_image)
    total = None if steps is None else steps * -(-len(records) // size)
    images, candidates = list[Image.Image](), list[Image.Image]()
    # disable=None: no bar where stderr is not a terminal.
    with tqdm(total=total, desc="drawing", unit="step", disable=None if progress else True) as bar:
        for first in range(0, len(records), size):
            batch = records[first : first + size]
            batch = with_plans(jf.plan, batch) if is_planned(jf, request) else batch
            if prompts is None or not {record.text for record in batch} <= set(prompts.texts):
                prompts = encode_records(jf, request, batch)

            def tell(info: StepInfo, first: int = first) -> None:
                bar.update()
                if on_step is not None:
                    on_step(DrawingStep(info=info, steps=steps, first_image=first, vae=jf.vae))

            noise = noise_of(jf, batch)
            sampler = image_sampler(noise, settings, init_image=request.init_image, on_step=tell)
            velocity = PromptVelocity(jf.model, prompts, [[record.text] for record in batch])
            drawn = decode_records(jf, batch, run_sampler(sampler, velocity))
            init_image = request.init_image
            candidates += drawn if init_image is None else map(init_image.restore, drawn)
            # The last image's candidates may go on in the next batch.
            while len(candidates) >= settings.best_of:
                image = choose(jf, candidates[: settings.best_of])
                del candidates[: settings.best_of]
                images += upscale([image])
                if on_image is not None:
                    on_image(len(images) - 1, images[-1])
    return images


def records_of(jf: Pipeline, request: GenerationRequest) -> list[DrawingRecord]:
    """A record for each image that a request asks for, without plans."""
    return request.records(
        model=jf.name,
        device=jf.model.device.type,
        dtype=str(jf.model.dtype).removeprefix("torch."),
    )


def encode_records(
    jf: Pipeline, request: GenerationRequest, records: Sequence[DrawingRecord]
) -> PromptEncoding:
    """Read what the records draw, every text once."""
    return encode_texts(
        jf.model,
        jf.processor,
        [record.text for record in records],
        is_guided=request.settings.is_guided,
        negative_prompt=request.negative_prompt,
    )


def noise_of(jf: Pipeline, records: Sequence[DrawingRecord]) -> Float[Tensor, "b c y x"]:
    """The noise that the records' seeds stand for, on the model's device."""
    flow = jf.model.config.generation
    shape = (flow.latent_channels, flow.latent_size, flow.latent_size)
    seeds = [record.seed for record in records]
    return sample_noise(shape, seeds=seeds, device=jf.model.device)


def decode_records(
    jf: Pipeline, records: Sequence[DrawingRecord], latents: Float[Tensor, "b c y x"]
) -> list[DrawnImage]:
    """The images of some records, with them."""
    names = [f"{record.prompt[:40]!r} with seed {record.seed}" for record in records]
    images = decode_latents(jf.vae, latents.float(), names=names)
    return [record.attach(image) for record, image in zip(records, images, strict=True)]


def choose(jf: Pipeline, candidates: Sequence[Image.Image]) -> Image.Image:
    """The best of one image's candidates."""
    if len(candidates) == 1:
        return candidates[0]
    scorer = jf.scorer or own_judgement(jf, jf.knowledge)
    return best(candidates, candidates[0].info["prompt"], scorer)
