"""Bodies of `/v1/images/...`: OpenAI's fields, and beside them those of drawing."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from janusflow.config.guidance import read_guidance
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.serving.bodies import Body

SETTINGS = {
    "num_inference_steps": "steps",
    "solver": "solver",
    "shift": "shift",
    "grid": "grid",
    "numerics": "numerics",
    "guidance_rescale": "guidance_rescale",
    "reuse": "reuse",
    "best_of": "best_of",
    "plan": "plan",
}
"""Fields of a body, and what DrawingSettings calls them."""
REFUSED: dict[str, Sequence[Any]] = {
    "background": ("auto", "opaque"),
    "extra_body": ({},),
    "style": (),
}
ACCEPTED = ("moderation", "quality", "safety_identifier", "user")


class ImageBody(Body):
    """What all requests for images may say of the model and the answer."""

    refused: ClassVar[Mapping[str, Sequence[Any]]] = REFUSED
    accepted: ClassVar[Sequence[str]] = ACCEPTED

    model: str | None = None
    response_format: Literal["b64_json", "url"] | None = Field(
        None, description="url is a data: URI: the server keeps no images."
    )
    output_format: Literal["png", "jpeg", "webp"] | None = Field(
        None, description="PNG files hold the prompt and all settings."
    )
    output_compression: int | None = Field(
        None, ge=0, le=100, description="Quality of JPEG and WebP, 100 is best."
    )


class DrawingBody(ImageBody):
    """How images are drawn, and how many."""

    n: int | None = Field(None, ge=1)
    size: str | None = Field(None, description="auto, or the size that the model draws.")
    stream: bool | None = None
    partial_images: int | None = Field(
        None, ge=0, le=3, description="With stream: images on the way, at even times of the path."
    )
    preview_every: int | None = Field(
        None, ge=1, description="With stream: an image on the way after every so many steps."
    )
    negative_prompt: str | None = None
    num_inference_steps: int | None = Field(
        None, ge=1, validation_alias=AliasChoices("num_inference_steps", "steps")
    )
    guidance_scale: float | str | None = Field(
        None,
        validation_alias=AliasChoices("guidance_scale", "guidance"),
        description="Weight, or a schedule of weights such as 3@0.1-0.6.",
    )
    seed: int | None = Field(None, description="Image i has seed + i; random if left out.")
    solver: str | None = None
    shift: float | None = None
    grid: str | None = None
    numerics: str | None = None
    guidance_rescale: float | None = None
    reuse: float | None = None
    best_of: int | None = Field(None, ge=1)
    plan: str | None = Field(None, description="auto, always or never.")
    plan_text: str | None = Field(None, min_length=1, description="Drawn instead of the prompt.")

    @property
    def settings(self) -> DrawingSettings:
        """How images are drawn; what is not said is the paper's."""
        given = {ours: getattr(self, name) for name, ours in SETTINGS.items()}
        if self.guidance_scale is not None:
            given["guidance"] = read_guidance(self.guidance_scale)
        return DrawingSettings(**{k: v for k, v in given.items() if v is not None})


class ImageReference(BaseModel):
    """An image of a JSON body: its address or its file, exactly one."""

    model_config = ConfigDict(extra="forbid")
    image_url: str | None = Field(
        None, description="A data: URI; a web address if the server allows its host."
    )
    file_id: str | None = Field(None, description="Refused: the server keeps no files.")


class GenerationBody(DrawingBody):
    """Images from words."""

    prompt: str = Field(min_length=1)


class StartBody(DrawingBody):
    """Images from an image. A form has `image` and `mask` as files."""

    accepted: ClassVar[Sequence[str]] = (*ACCEPTED, "input_fidelity")

    images: list[ImageReference] = Field(default_factory=list)
    mask: ImageReference | None = Field(
        None, description="Drawn anew where it is see-through, or white where nothing is."
    )
    strength: float | None = Field(
        None, description="Share of the path that is walked: small stays close to the image."
    )
    invert: str | None = Field(
        None, description="What the image shows, or nothing: start from its own noise."
    )


class EditBody(StartBody):
    """Another image from an image and words."""

    prompt: str = Field(min_length=1)


class VariationBody(StartBody):
    """Images like one that is given."""

    prompt: str | None = Field(
        None, min_length=1, description="If left out, the model says what the image shows."
    )


class PlanBody(Body):
    """A prompt to plan: the words that would be drawn."""

    prompt: str = Field(min_length=1)
    model: str | None = None
    seed: int | None = None


class UpscaleBody(ImageBody):
    """An image to make larger."""

    images: list[ImageReference] = Field(default_factory=list)
    upscale: str = Field("lanczos:2", description="lanczos:2 to lanczos:8, or refine:2.")
