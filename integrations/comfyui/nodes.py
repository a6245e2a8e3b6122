"""Four nodes over `janusflow.load`, `jf.ask` and `jf.generate`.

What passes between ComfyUI's nodes:

- IMAGE, float32 [b, y, x, 3] in [0, 1]; MASK, float32 [b, y, x], 1 is drawn anew;
- LATENT, `{"samples": [b, c, y, x]}` as the VAE made it: ComfyUI's samplers scale by themselves
  what they are given, and its VAEDecode takes it as it is. JanusFlow's own latents are scaled to
  about unit variance, so they are divided by the VAE's scaling_factor (0.13025 for SDXL's) on the
  way out.
"""

from typing import Any

import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy_api.latest import ComfyAPISync, ComfyExtension, io
from PIL import Image

import janusflow

SOLVERS = ["euler", "midpoint", "heun", "rk4", "dopri5"]
MAX_SEED = 2**53 - 1
"""Greatest number that a browser keeps exactly."""
CATEGORY = "JanusFlow"
JanusFlowModel = io.Custom("JANUSFLOW")


def to_pil(images: torch.Tensor) -> list[Image.Image]:
    """An IMAGE batch [b, y, x, 3], or a MASK batch [b, y, x], as 8-bit images."""
    levels = (images.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return [Image.fromarray(each.numpy()) for each in levels]


def to_batch(images: list[Image.Image]) -> torch.Tensor:
    """RGB images of one size as an IMAGE batch, float32 [b, y, x, 3] in [0, 1]."""
    shape = (images[0].height, images[0].width, 3)
    pixels = [
        torch.frombuffer(bytearray(each.convert("RGB").tobytes()), dtype=torch.uint8)
        for each in images
    ]
    return torch.stack([each.view(shape) for each in pixels]).float() / 255


class Vae:
    """A JanusFlow's VAE, with the two methods that VAEDecode and VAEEncode of ComfyUI call."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae

    @torch.no_grad()
    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        """LATENT samples [b, c, y, x], not scaled, to an IMAGE batch."""
        decoded = self.vae.decode(samples.to(self.vae.device, self.vae.dtype)).sample
        return ((decoded.float() + 1) / 2).clamp(0, 1).movedim(1, -1).cpu()

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """An IMAGE batch to the means of its latents, not scaled."""
        scaled = pixels[..., :3].movedim(-1, 1) * 2 - 1
        return self.vae.encode(scaled.to(self.vae.device, self.vae.dtype)).latent_dist.mean.float()


class JanusFlowLoad(io.ComfyNode):
    """A model by its name."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node takes and gives."""
        return io.Schema(
            node_id="JanusFlowLoad",
            display_name="Load JanusFlow",
            category=CATEGORY,
            description="mini comes with the package; or a folder, or a hub id.",
            inputs=[
                io.String.Input("name", default="mini"),
                io.Combo.Input(
                    "dtype", options=["auto", "float32", "bfloat16", "float16"], default="auto"
                ),
                io.Combo.Input("quantize", options=["none", "int8"], default="none"),
                io.Combo.Input("offload", options=["none", "parts", "blocks"], default="none"),
            ],
            outputs=[JanusFlowModel.Output(display_name="janusflow"), io.Vae.Output()],
        )

    @classmethod
    def execute(cls, name: str, dtype: str, quantize: str, offload: str) -> io.NodeOutput:
        """The `jf` object, and its VAE for VAEDecode and VAEEncode."""
        jf = janusflow.load(
            name,
            dtype=dtype,
            quantize=None if quantize == "none" else quantize,
            offload=None if offload == "none" else offload,
        )
        return io.NodeOutput(jf, Vae(jf.vae))


class JanusFlowSee(io.ComfyNode):
    """A question about images, answered in words."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node takes and gives."""
        return io.Schema(
            node_id="JanusFlowSee",
            display_name="See (JanusFlow)",
            category=CATEGORY,
            description="Answers a question. Several images of a batch are shown in order.",
            inputs=[
                JanusFlowModel.Input("janusflow"),
                io.String.Input("question", multiline=True, default="Describe the picture."),
                io.Image.Input("image", optional=True),
                io.Int.Input("max_new_tokens", default=256, min=1, max=4096),
                io.Float.Input("temperature", default=0.0, min=0.0, max=2.0, step=0.05),
                io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=True),
            ],
            outputs=[io.String.Output(display_name="answer")],
        )

    @classmethod
    def execute(
        cls, janusflow: Any, question: str, image: torch.Tensor | None = None, **settings: Any
    ) -> io.NodeOutput:
        """What `jf.ask` answers."""
        shown = [] if image is None else to_pil(image)
        return io.NodeOutput(janusflow.ask(shown, question, **settings))


def drawing_inputs() -> list[io.Input]:
    """What both drawing nodes take, by the names of `jf.generate`."""
    return [
        io.String.Input("negative_prompt", multiline=True, default=""),
        io.Int.Input("num_images", default=1, min=1, max=64),
        io.Int.Input("steps", default=30, min=1, max=1000),
        io.Float.Input("guidance", default=2.0, min=1.0, max=20.0, step=0.1),
        io.Combo.Input("solver", options=SOLVERS, default="euler"),
        io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=True),
    ]


def drawn(jf: Any, prompt: str, *, negative_prompt: str, **settings: Any) -> io.NodeOutput:
    """LATENT and IMAGE of what `jf.generate` draws; ComfyUI shows its steps and can stop it."""
    latents: dict[int, torch.Tensor] = {}
    progress = ComfyAPISync().execution

    def tell(step: Any) -> None:
        throw_exception_if_processing_interrupted()
        latents[step.first_image] = step.info.x_next
        total = step.steps or step.index + 2  # dopri5 does not know how many there will be
        progress.set_progress(value=step.index + 1, max_value=total)

    images = jf.generate(prompt, negative_prompt=negative_prompt or None, on_step=tell, **settings)
    scale = jf.vae.config["scaling_factor"]
    shift = jf.vae.config.get("shift_factor") or 0.0
    samples = torch.cat([latents[first] for first in sorted(latents)])
    samples = samples.float().cpu() / scale + shift
    return io.NodeOutput({"samples": samples}, to_batch(images))


DRAWN = [io.Latent.Output(), io.Image.Output()]


class JanusFlowDraw(io.ComfyNode):
    """Images from words."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node takes and gives."""
        return io.Schema(
            node_id="JanusFlowDraw",
            display_name="Draw (JanusFlow)",
            category=CATEGORY,
            description="Draws a prompt by rectified flow. Image i of the batch has seed + i.",
            inputs=[
                JanusFlowModel.Input("janusflow"),
                io.String.Input("prompt", multiline=True),
                *drawing_inputs(),
                io.Combo.Input("plan", options=["auto", "always", "never"], default="auto"),
            ],
            outputs=DRAWN,
        )

    @classmethod
    def execute(cls, janusflow: Any, prompt: str, **settings: Any) -> io.NodeOutput:
        """What `jf.generate` draws."""
        return drawn(janusflow, prompt, **settings)


class JanusFlowEdit(io.ComfyNode):
    """An image, varied or in parts drawn anew."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node takes and gives."""
        return io.Schema(
            node_id="JanusFlowEdit",
            display_name="Edit (JanusFlow)",
            category=CATEGORY,
            description="Starts from an image. With a mask, its white part alone is drawn anew; "
            "the LATENT is as it was drawn, the IMAGE has its own pixels outside of the mask.",
            inputs=[
                JanusFlowModel.Input("janusflow"),
                io.Image.Input("image"),
                io.String.Input("prompt", multiline=True),
                io.Float.Input(
                    "strength",
                    default=0.6,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of the path that is walked: small stays close to the image. "
                    "With a mask, take 1.",
                ),
                io.Mask.Input("mask", optional=True),
                *drawing_inputs(),
            ],
            outputs=DRAWN,
        )

    @classmethod
    def execute(
        cls,
        janusflow: Any,
        image: torch.Tensor,
        prompt: str,
        mask: torch.Tensor | None = None,
        **settings: Any,
    ) -> io.NodeOutput:
        """What `jf.generate` draws from the first image of the batch, and the first mask."""
        start = {"init_image": to_pil(image)[0]}
        if mask is not None:
            start["mask"] = to_pil(mask)[0]
        return drawn(janusflow, prompt, **start, **settings)


class JanusFlowNodes(ComfyExtension):
    """All of them."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """What ComfyUI registers."""
        return [JanusFlowLoad, JanusFlowSee, JanusFlowDraw, JanusFlowEdit]


async def comfy_entrypoint() -> ComfyExtension:
    """What ComfyUI calls once, at its start."""
    return JanusFlowNodes()
