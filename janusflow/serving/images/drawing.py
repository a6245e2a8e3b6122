"""From a body to requests of the scheduler, one an image, and from images to what is answered."""

import base64
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from janusflow.inference.batching.image_batcher import DrawingRequest
from janusflow.inference.drawing.batches import DrawingStep
from janusflow.inference.drawing.init_image import InitImage
from janusflow.inference.drawing.latents import check_size
from janusflow.inference.drawing.metadata import record_of
from janusflow.inference.drawing.seeds import chosen
from janusflow.serving.engine import Engine, Work
from janusflow.serving.errors import ApiError
from janusflow.serving.images.types import DrawingBody, ImageBody
from janusflow.serving.models import adapters_of

DEFAULT_QUALITY = 95


def check_limits(engine: Engine, body: DrawingBody, prompt: str) -> None:
    """Refuse what would take too long, or another size than the model draws.

    Raises:
        ApiError: a limit is passed, or images on the way are wanted without a stream.
        ConfigError: another size is wanted.
    """
    config = engine.config
    texts = (prompt, body.negative_prompt, body.plan_text)
    limits = {
        "n": (body.n or 1, config.max_choices),
        "best_of": (body.best_of or 1, config.max_best_of),
        "num_inference_steps": (body.num_inference_steps or 1, config.max_steps),
        "prompt": (sum(len(text) for text in texts if text), config.max_text),
    }
    for name, (value, limit) in limits.items():
        if value > limit:
            raise ApiError(400, f"{name}: {value} is more than {limit}.", param=name)
    for name in ("partial_images", "preview_every"):
        if getattr(body, name) and not body.stream:
            raise ApiError(400, f"{name} without stream=true: set both.", param=name)
    if body.size not in (None, "auto"):
        check_size(body.size, trained=engine.jf.image_size)


@dataclass(frozen=True, kw_only=True)
class StepOfImage:
    """A step of one image of a request, told by the stepping thread."""

    image_index: int
    step: DrawingStep


@dataclass(kw_only=True)
class Progress:
    """Tells steps of one image as they are made, the first of its candidates only."""

    work: Work
    image_index: int
    newest: int = -1
    """The last step that was made."""

    def __call__(self, step: DrawingStep) -> None:
        """Take a step; in the stepping thread."""
        if step.first_image == 0:
            self.newest = step.index
            self.work.tell(StepOfImage(image_index=self.image_index, step=step))


def submit(
    engine: Engine, work: Work, body: DrawingBody, prompt: str, *, start: InitImage | None = None
) -> list[Progress]:
    """Ask for `n` images, each a request of its own, so that each is answered when it is done.

    Args:
        engine: has the scheduler.
        work: gets the handles.
        body: how they are drawn.
        prompt: what they show.
        start: an image to start from.

    Returns:
        What each image has told of its steps; nothing is told without a stream.
    """
    check_limits(engine, body, prompt)
    first = chosen(body.seed)
    progress = [Progress(work=work, image_index=index) for index in range(body.n or 1)]
    for each in progress:
        handle = engine.scheduler.submit_drawing(
            prompt,
            negative_prompt=body.negative_prompt,
            seed=first + each.image_index,
            settings=body.settings,
            init_image=start,
            plans=None if body.plan_text is None else [body.plan_text],
            adapters=adapters_of(engine, body.model),
            on_step=each if body.partial_images or body.preview_every else None,
        )
        work.handles.append(handle)
    return progress


@dataclass(frozen=True, kw_only=True)
class ImageAnswer:
    """How a request wants its images answered."""

    output_format: str
    quality: int
    is_url: bool
    size: int
    """Rows and columns of an image, in pixels."""
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def to(cls, body: ImageBody, size: int) -> "ImageAnswer":
        """As the body says."""
        return cls(
            output_format=body.output_format or "png",
            quality=DEFAULT_QUALITY if body.output_compression is None else body.output_compression,
            is_url=body.response_format == "url",
            size=size,
        )

    @property
    def shared(self) -> dict[str, Any]:
        """What is said of all images together."""
        return {
            "size": f"{self.size}x{self.size}",
            "quality": "auto",
            "background": "opaque",
            "output_format": self.output_format,
        }

    def encode(self, image: Image.Image) -> str:
        """Base64 of an image's file."""
        content = io.BytesIO()
        options = {} if self.output_format == "png" else {"quality": self.quality}
        image.save(content, format=self.output_format, **options)
        return base64.b64encode(content.getvalue()).decode("ascii")

    def entry(self, image: Image.Image) -> dict[str, Any]:
        """An image as it is answered, with what was drawn."""
        encoded, record = self.encode(image), record_of(image)
        told = {"seed": record.seed, "plan": record.plan} if record is not None else {}
        if self.is_url:
            return {"url": f"data:image/{self.output_format};base64,{encoded}", **told}
        return {"b64_json": encoded, **told}

    def whole(self, entries: Sequence[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
        """The answer in one piece."""
        return {"created": self.created, "data": [*entries], **self.shared, "usage": usage}


def usage(engine: Engine, handles: Sequence[DrawingRequest]) -> dict[str, Any]:
    """Tokens that were read for images, and those that they take."""
    read = 0
    for handle in handles:
        if handle.prompts is not None:
            read += int(handle.prompts.cache.attention_mask[0].sum())
    drawn = engine.jf.model.config.generation.num_tokens * len(handles)
    return {
        "input_tokens": read,
        "input_tokens_details": {"text_tokens": read, "image_tokens": 0},
        "output_tokens": drawn,
        "total_tokens": read + drawn,
    }


def finish(engine: Engine, work: Work) -> None:
    """Log and count a request whose images are all drawn."""
    work.finish(usage(engine, work.handles), ["stop"] * len(work.handles))
