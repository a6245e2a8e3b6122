"""From a request to its images: read the prompts, draw noise, follow the velocity, decode."""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from janusflow.config.guidance import schedule_of
from janusflow.config.upscaling import NONE
from janusflow.flow import StepInfo, run_sampler, sample_noise
from janusflow.inference.drawing.batches import (
    DrawingStep,
    GenerationRequest,
    OnImage,
    OnStep,
)
from janusflow.inference.drawing.best_of import Pipeline, choose
from janusflow.inference.drawing.init_image import InitImage
from janusflow.inference.drawing.inversion import inverted
from janusflow.inference.drawing.latents import decode_latents
from janusflow.inference.drawing.metadata import DrawingRecord, DrawnImage
from janusflow.inference.drawing.planning import plans_first
from janusflow.inference.drawing.prompts import PromptVelocity, encode_texts, prompt_of
from janusflow.inference.drawing.sampling import image_sampler
from janusflow.inference.upscaling.upscalers import make_upscaler
from janusflow.tuning.active import can_plan
from janusflow.tuning.files import described_adapters

log = logging.getLogger(__name__)


@torch.no_grad()
def generate_images(
    jf: Pipeline,
    request: GenerationRequest,
    *,
    on_step: OnStep | None = None,
    on_image: OnImage | None = None,
    progress: bool = False,
) -> list[Image.Image]:
    """Draw a request in batches; the arguments are those of `JanusFlow.generate`."""
    request, records = prepare_request(jf, request)
    settings, size, prompts = request.settings, request.batch_size or len(records), None
    # Before drawing: its weights may have to be fetched.
    upscale = list
    if settings.upscale != NONE:
        upscale = make_upscaler(settings.upscale, vae=jf.vae, device=jf.model.device, show=progress)
    images, candidates = list[Image.Image](), list[Image.Image]()
    # disable=None: no bar where stderr is not a terminal.
    with tqdm(desc="drawing", unit="step", disable=None if progress else True) as bar:
        for first in range(0, len(records), size):

            def tell(info: StepInfo, first: int = first) -> None:
                bar.total = info.num_steps and info.num_steps * math.ceil(len(records) / size)
                bar.update()
                if on_step is not None:
                    on_step(DrawingStep(info=info, first_image=first, vae=jf.vae))

            batch = records[first : first + size]
            if settings.plan == "always":
                plans = jf.plan([each.prompt for each in batch], [each.seed for each in batch])
                batch = [replace(each, plan=plan) for each, plan in zip(batch, plans, strict=True)]
            texts = [record.plan or record.prompt for record in batch]
            if prompts is None or not set(texts) <= set(prompts.texts):
                prompts = encode_texts(
                    jf.model,
                    jf.processor,
                    texts,
                    is_guided=schedule_of(settings.guidance).is_guided,
                    negative_prompt=request.negative_prompt,
                )
            noise = noise_of(jf, batch)
            sampler = image_sampler(noise, settings, init_image=request.init_image, on_step=tell)
            velocity = PromptVelocity(jf.model, prompts, [[text] for text in texts])
            latents = run_sampler(sampler, velocity)
            candidates += decode_records(jf, batch, latents, [request.init_image] * len(batch))
            # The last image's candidates may go on in the next batch.
            while len(candidates) >= settings.best_of:
                image = candidates[0]
                if settings.best_of > 1:
                    image = choose(jf, candidates[: settings.best_of])
                del candidates[: settings.best_of]
                images += upscale([image])
                if on_image is not None:
                    on_image(len(images) - 1, images[-1])
    return images


def prepare_request(
    jf: Pipeline, request: GenerationRequest
) -> tuple[GenerationRequest, list[DrawingRecord]]:
    """The request with all decided, and a record of every image, before any work.

    Its settings' `plan` is always or never then, and an image to start from is inverted.

    Raises:
        PromptError: a prompt is none, or longer than the model's context.
        ConfigError: plans are asked for, and the model has not learnt to plan.
    """
    negative = () if request.negative_prompt is None else (request.negative_prompt,)
    prompt_of(jf.model, jf.processor, request.prompts + negative + (request.plans or ()))
    init_image = request.init_image
    is_planned = plans_first(
        request.settings, has_learnt=can_plan(jf.model), has_init_image=init_image is not None
    )
    is_planned = is_planned and request.plans is None
    settings = replace(request.settings, plan="always" if is_planned else "never")
    adapters = described_adapters(jf.model)
    # What an adapter has taught is not among what the base knows.
    if jf.knowledge is not None and adapters is None:
        for limits in filter(None, map(jf.knowledge.limits, dict.fromkeys(request.prompts))):
            log.warning("%s", limits)
    is_inverted = init_image is None or init_image.inverted_noise is not None
    if init_image is not None and init_image.invert is not None and not is_inverted:
        init_image = inverted(init_image, jf.model, jf.processor, settings=settings)
    request = replace(request, settings=settings, init_image=init_image)
    dtype = str(jf.model.dtype).removeprefix("torch.")
    where = {"device": jf.model.device.type, "dtype": dtype, "adapters": adapters}
    return request, request.records(model=jf.name, **where)


def noise_of(jf: Pipeline, records: Sequence[DrawingRecord]) -> Float[Tensor, "b c y x"]:
    """The noise that the records' seeds stand for, on the model's device."""
    flow = jf.model.config.generation
    shape = (flow.latent_channels, flow.latent_size, flow.latent_size)
    seeds = [record.seed for record in records]
    return sample_noise(shape, seeds=seeds, device=jf.model.device)


def decode_records(
    jf: Pipeline,
    records: Sequence[DrawingRecord],
    latents: Float[Tensor, "b c y x"],
    init_images: Sequence[InitImage | None],
) -> list[DrawnImage]:
    """The images of some records, with them; of an image started from what was to be kept."""
    names = [f"{record.prompt[:40]!r} with seed {record.seed}" for record in records]
    images = decode_latents(jf.vae, latents.float(), names=names)
    for image, start in zip(images, init_images, strict=True):
        if start is not None:
            start.restore(image)
    return [record.attach(image) for record, image in zip(records, images, strict=True)]
