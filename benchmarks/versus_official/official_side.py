"""The authors' side: their modules, from their checkout, called as their demo calls them.

None of their code is here. Drawing repeats what the demo does with the modules, on any device and
in any dtype: the prompt is read again at every step, and both branches of guidance are rows of one
batch. Where their environment has no torchvision, a stand-in takes its place.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from cases import TIME, noise
from PIL import Image
from torch import Tensor

from janusflow.inference.speed import SpeedSettings, Stopwatch, random_images

TIME_SCALE = 1000.0
"""Their encoder is handed 1000 t."""
LATENT_CHANNELS, VAE_FACTOR = 4, 8
WHITE = 255
TORCHVISION = (
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.utils",
    "torchvision.ops",
    "torchvision.ops.misc",
    "torchvision.datasets",
    "torchvision.models",
    "torchvision.models.feature_extraction",
)
"""What the authors' code and timm import of it; they call `resize` alone."""


class _Placeholder(ModuleType):
    """A module of which any name can be imported."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def stand_in_for_torchvision() -> bool:
    """Stand in for torchvision, once transformers and diffusers are imported; False if it is there.

    Both ask for torchvision as they are imported, and do without.
    """
    if importlib.util.find_spec("torchvision") is not None:
        return False
    for name in TORCHVISION:
        sys.modules[name] = _Placeholder(name)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])
    functional: Any = sys.modules["torchvision.transforms.functional"]
    functional.resize, functional.InterpolationMode = resize, Image.Resampling
    return True


def resize(
    image: Image.Image,
    size: Sequence[int],
    interpolation: Image.Resampling = Image.Resampling.BILINEAR,
    **_: Any,
) -> Image.Image:
    """Scale an open image to `size`, its height first; one of this size is left as it is."""
    height, width = size
    is_kept = image.size == (width, height)
    return image if is_kept else image.resize((width, height), interpolation)


class TokenClock:
    """A streamer for `generate`: a lap at every token, none for the prompt."""

    def __init__(self, watch: Stopwatch) -> None:
        self.watch = watch

    def put(self, token_ids: Tensor) -> None:
        """Take what `generate` hands over: first the prompt's ids, of which there are none."""
        if token_ids.numel():
            self.watch.lap()

    def end(self) -> None:
        """Nothing is held back."""


class OfficialModel:
    """The package `janus` of a checkout, with the methods of `OurModel`."""

    def __init__(self, code: str) -> None:
        sys.path.insert(0, str(Path(code).resolve()))
        import_module("janus")  # mends `collections`, without which attrdict cannot be imported
        import_module("transformers.models.llama.modeling_llama")
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        stand_in_for_torchvision()
        models: Any = import_module("janus.janusflow.models")
        self.model_class = models.MultiModalityCausalLM
        self.processor_class = models.VLChatProcessor
        self.vae_class: Any = AutoencoderKL

    def load(self, watch: Stopwatch, folder: str, *, device: str, dtype: str) -> None:
        """As their demo loads: `from_pretrained`, then `to`."""
        kind = getattr(torch, dtype)
        with watch:
            self.processor: Any = self.processor_class.from_pretrained(folder)
            self.tokenizer: Any = self.processor.tokenizer
            model: Any = self.model_class.from_pretrained(folder)
            self.model: Any = model.to(kind).to(device).eval()
            vae: Any = self.vae_class.from_pretrained(Path(folder) / "vae")
            self.vae: Any = vae.to(kind).to(device).eval()

    @torch.inference_mode()
    def velocity(self, settings: SpeedSettings, watch: Stopwatch) -> np.ndarray:
        """One evaluation, as every step of the demo makes it."""
        prefix, mask = self._prompt(settings)
        x = self._noise(settings)
        with watch:
            found = self._velocity(x, TIME, prefix, mask, settings.guidance)
        return found.float().cpu().numpy()

    @torch.inference_mode()
    def image(self, settings: SpeedSettings, watch: Stopwatch) -> np.ndarray:
        """Euler steps from t = 0, then the VAE; the state has the model's dtype."""
        x = self._noise(settings)
        with watch:
            prefix, mask = self._prompt(settings)
            length = torch.full_like(x, 1 / settings.steps)
            for step in range(settings.steps):
                t = step / settings.steps
                x = x + length * self._velocity(x, t, prefix, mask, settings.guidance)
            decoded = self.vae.decode(x / self.vae.config.scaling_factor).sample
            shown = (decoded.float().clamp(-1, 1) + 1) / 2 * WHITE
            return shown.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()

    @torch.inference_mode()
    def ask(self, settings: SpeedSettings, watch: Stopwatch) -> np.ndarray:
        """Their processor, their embedding of images, and `generate` of their language model."""
        shown = random_images(settings.images, seed=settings.seed)
        tag = f"{self.processor.image_tag}\n"
        conversation = [
            {
                "role": "User",
                "content": tag * settings.images + settings.question,
                "images": shown,
            },
            {"role": "Assistant", "content": ""},
        ]
        with watch:
            asked = self.processor(
                conversations=conversation, images=shown, force_batchify=True
            ).to(self.model.device, dtype=self.model.dtype)
            token_ids = self.model.language_model.generate(
                inputs_embeds=self.model.prepare_inputs_embeds(**asked),
                attention_mask=asked.attention_mask,
                pad_token_id=self.tokenizer.eos_token_id,
                bos_token_id=self.tokenizer.bos_token_id,
                eos_token_id=self.tokenizer.eos_token_id,
                max_new_tokens=settings.new_tokens,
                do_sample=False,
                use_cache=True,
                streamer=TokenClock(watch),
            )
        return token_ids[0].cpu().numpy()

    def _noise(self, settings: SpeedSettings) -> Tensor:
        size = self.processor.image_processor.image_size // VAE_FACTOR
        shape = (LATENT_CHANNELS, size, size)
        drawn = noise(shape, batch=settings.batch, seed=settings.seed)
        return drawn.to(self.model.device, self.model.dtype)

    def _prompt(self, settings: SpeedSettings) -> tuple[Tensor, Tensor]:
        """Embeddings and mask: conditional rows, then those that see their first token alone."""
        said = [
            {"role": "User", "content": settings.prompt},
            {"role": "Assistant", "content": ""},
        ]
        text = self.processor.apply_sft_template_for_multi_turn_prompts(
            conversations=said, sft_format=self.processor.sft_format, system_prompt=""
        )
        # The last token announces the image; the time token takes its place.
        row = self.tokenizer.encode(text + self.processor.image_start_tag)[:-1]
        rows = torch.tensor([row] * 2 * settings.batch, device=self.model.device)
        rows[settings.batch :, 1:] = self.processor.pad_id
        mask = torch.ones_like(rows)
        mask[settings.batch :, 1:] = 0
        return self.model.language_model.get_input_embeddings()(rows), mask

    def _velocity(
        self, x: Tensor, t: float, prefix: Tensor, mask: Tensor, guidance: float
    ) -> Tensor:
        model = self.model
        both = torch.cat([x, x])
        times = torch.full((len(both),), TIME_SCALE * t, device=x.device).to(x.dtype)
        features, time_token, skips = model.vision_gen_enc_model(both, times)
        tokens = model.vision_gen_enc_aligner(features.flatten(2).transpose(1, 2))
        sequence = torch.cat([prefix, time_token[:, None], tokens], dim=1)
        own = mask.new_ones(len(both), 1 + tokens.shape[1])
        hidden = model.language_model.model(
            inputs_embeds=sequence, attention_mask=torch.cat([mask, own], dim=1), use_cache=True
        ).last_hidden_state[:, -tokens.shape[1] :]
        hidden = model.vision_gen_dec_aligner(model.vision_gen_dec_aligner_norm(hidden))
        grid = hidden.transpose(1, 2).unflatten(2, features.shape[-2:])
        conditional, other = model.vision_gen_dec_model(grid, skips, time_token).chunk(2)
        return guidance * conditional - (guidance - 1) * other
