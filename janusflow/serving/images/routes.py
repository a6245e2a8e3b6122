"""`POST /v1/images/...`: images from words and from images, plans of images, and larger ones."""

from contextlib import ExitStack
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from PIL import Image

from janusflow.config.upscaling import NONE
from janusflow.inference.answering.chat import question_message
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.drawing.init_image import InitImage, prepare_init_image
from janusflow.inference.drawing.seeds import chosen
from janusflow.inference.upscaling.upscalers import make_upscaler
from janusflow.serving.engine import Engine, Work
from janusflow.serving.errors import ApiError
from janusflow.serving.images.drawing import ImageAnswer, finish, submit, usage
from janusflow.serving.images.events import image_events
from janusflow.serving.images.forms import WithImages, accepts_both, read_body
from janusflow.serving.images.masks import as_mask, own_mask
from janusflow.serving.images.types import (
    DrawingBody,
    EditBody,
    GenerationBody,
    PlanBody,
    StartBody,
    UpscaleBody,
    VariationBody,
)
from janusflow.serving.models import adapters_of, check_model
from janusflow.serving.streaming import stream

router = APIRouter()
DESCRIBE = "Describe the picture."
MAX_DESCRIPTION_TOKENS = 96
UPSCALED_HERE = ("lanczos", "refine")
"""Methods that fetch no weights."""


@router.post("/v1/images/generations")
async def create_image(body: GenerationBody, request: Request) -> Response:
    """Draw a prompt."""
    return await _draw(request, body, body.prompt)


@router.post("/v1/images/edits", openapi_extra=accepts_both(EditBody))
async def edit_image(request: Request) -> Response:
    """Draw a prompt, starting from an image; with a mask, only where the mask says so."""
    given = await read_body(request, EditBody)
    return await _draw(request, given.body, given.body.prompt, given)


@router.post("/v1/images/variations", openapi_extra=accepts_both(VariationBody))
async def vary_image(request: Request) -> Response:
    """Draw images like one that is given: what the model says of it, starting from it."""
    given = await read_body(request, VariationBody)
    return await _draw(request, given.body, given.body.prompt, given)


@router.post("/v1/images/plans")
async def plan_image(body: PlanBody, request: Request) -> dict[str, Any]:
    """The words that would be drawn for a prompt and seed: for `plan_text`, perhaps changed."""
    engine: Engine = request.app.state.engine
    adapters, seed = adapters_of(engine, body.model), chosen(body.seed)
    with engine.work(request, "images") as work:
        handle = engine.scheduler.submit_plan(body.prompt, seed=seed, adapters=adapters)
        work.handles.append(handle)
        (plan,) = await work.results()
    return {"plan": plan, "seed": seed}


@router.post("/v1/images/upscales", openapi_extra=accepts_both(UpscaleBody))
async def upscale_image(request: Request) -> Response:
    """Make an image larger."""
    engine: Engine = request.app.state.engine
    given = await read_body(request, UpscaleBody)
    body, jf = given.body, engine.jf
    check_model(engine, body.model)
    method, _, factor = body.upscale.partition(":")
    if body.upscale != NONE and method not in UPSCALED_HERE:
        raise ApiError(
            400,
            f"upscale={body.upscale!r:.80}: use one of {', '.join(UPSCALED_HERE)} here; the "
            "command `janusflow upscale` has more.",
            param="upscale",
        )
    with engine.work(request, "images") as work:
        image = await work.attend(engine.images.in_thread(engine.images.open, given.image))
        pixels = image.width * image.height * (int(factor) ** 2 if factor.isdecimal() else 1)
        if pixels > engine.config.max_pixels:
            raise ApiError(
                400,
                f"upscale: {pixels} pixels are more than {engine.config.max_pixels}.",
                param="upscale",
            )
        upscale = make_upscaler(body.upscale, vae=jf.vae, device=jf.model.device)
        work.handles.append(engine.scheduler.submit_call(lambda: upscale([image])))
        ((large,),) = await work.results()
        answer = ImageAnswer.to(body, jf.image_size)
        entry = await engine.images.in_thread(answer.entry, large)
    size = f"{large.width}x{large.height}"
    return JSONResponse({"created": answer.created, "data": [entry], "size": size})


async def _draw(
    request: Request,
    body: DrawingBody,
    prompt: str | None,
    given: WithImages[Any] | None = None,
) -> Response:
    """Draw, from an image if one is given, and answer in one piece or as it comes."""
    engine: Engine = request.app.state.engine
    check_model(engine, body.model)
    with ExitStack() as stack:
        work = stack.enter_context(engine.work(request, "images"))
        start = None
        if given is not None:
            image, mask = await work.attend(engine.images.in_thread(_open, engine, given))
            prompt = prompt or await _description(engine, work, image, given.body.model)
            start = await _start(engine, work, given.body, image, mask)
        assert prompt is not None, "only what starts from an image has none"
        progress = submit(engine, work, body, prompt, start=start)
        if body.stream:
            prefix = "image_generation" if given is None else "image_edit"
            events = image_events(engine, work, body, progress, prefix=prefix)
            return await stream(request, work, events, stack.pop_all())
        images = [image for (image,) in await work.results()]
        answer = ImageAnswer.to(body, engine.jf.image_size)
        entries = [await engine.images.in_thread(answer.entry, image) for image in images]
        whole = answer.whole(entries, usage(engine, work.handles))
        finish(engine, work)
        return JSONResponse(whole)


def _open(engine: Engine, given: WithImages[StartBody]) -> tuple[Image.Image, Image.Image | None]:
    """The image to start from and its mask; blocks.

    Without a mask, see-through parts of the image are drawn anew, if it has any.
    """
    image = engine.images.open(given.image, alpha=True)
    if given.mask is None:
        return image.convert("RGB"), own_mask(image)
    mask = as_mask(engine.images.open(given.mask, alpha=True))
    if mask.size != image.size:
        raise ApiError(
            400,
            f"mask: {mask.width}x{mask.height} pixels for an image of "
            f"{image.width}x{image.height}: make it as large.",
            param="mask",
        )
    return image.convert("RGB"), mask


async def _description(engine: Engine, work: Work, image: Image.Image, model: str | None) -> str:
    """What a model says that an image shows."""
    message = question_message([image], DESCRIBE)
    settings = AnsweringSettings(max_new_tokens=MAX_DESCRIPTION_TOKENS)
    adapters = adapters_of(engine, model)
    handle = engine.scheduler.submit_question([message], settings=settings, adapters=adapters)
    return await work.result(handle)


async def _start(
    engine: Engine, work: Work, body: StartBody, image: Image.Image, mask: Image.Image | None
) -> InitImage | None:
    """The image as drawing starts from it: the VAE encodes it between two steps."""
    return await work.result(
        engine.scheduler.submit_call(
            lambda: prepare_init_image(engine.jf, image, body.strength, mask, body.invert)
        )
    )
