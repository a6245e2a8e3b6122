"""The authors' side: their modules, from their checkout, called as their demo calls them.

None of their code is here. Drawing repeats what the demo does with the modules, on any device and
in any dtype: the prompt is read again at every step, and both branches of guidance are rows of one
batch.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from janusflow.benchmark import inputs, torchvision_stand_in
from janusflow.benchmark.cases import Outputs, Request, Watch

TIME_SCALE = 1000.0
"""Their encoder is handed 1000 t."""
LATENT_CHANNELS, VAE_FACTOR = 4, 8
WHITE = 255


class TokenClock:
    """A streamer for `generate`: a lap at every token, none for the prompt."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def put(self, token_ids: Tensor) -> None:
        """Take what `generate` hands over: first the prompt's ids, of which there are none."""
        if token_ids.numel():
            self.watch.lap()

    def end(self) -> None:
        """Nothing is held back."""


class Official:
    """The package `janus` of a checkout."""

    def __init__(self, code: str) -> None:
        sys.path.insert(0, str(Path(code).resolve()))
        import_module("janus")  # mends `collections`, without which attrdict cannot be imported
        # Before the stand-in: both ask whether there is a torchvision.
        import_module("transformers.models.llama.modeling_llama")
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        torchvision_stand_in.install()
        models: Any = import_module("janus.janusflow.models")
        self.model_class = models.MultiModalityCausalLM
        self.processor_class = models.VLChatProcessor
        self.vae_class: Any = AutoencoderKL

    def load(self, request: Request, watch: Watch) -> Outputs:
        """As their demo loads: `from_pretrained`, then `to`."""
        dtype = getattr(torch, request.dtype)
        with watch:
            self.processor: Any = self.processor_class.from_pretrained(request.folder)
            self.tokenizer: Any = self.processor.tokenizer
            model: Any = self.model_class.from_pretrained(request.folder)
            self.model: Any = model.to(dtype).to(request.device).eval()
            vae: Any = self.vae_class.from_pretrained(Path(request.folder) / "vae")
            self.vae: Any = vae.to(dtype).to(request.device).eval()
        return {}

    @torch.inference_mode()
    def velocity(self, request: Request, watch: Watch) -> Outputs:
        """One evaluation, as every step of the demo makes it."""
        prefix, mask = self._prompt(request)
        x = self._noise(request)
        with watch:
            found = self._velocity(x, inputs.TIME, prefix, mask, request.guidance)
        return {"velocity": found.float().cpu().numpy()}

    @torch.inference_mode()
    def picture(self, request: Request, watch: Watch) -> Outputs:
        """Euler steps from t = 0, then the VAE; the state has the model's dtype."""
        x = self._noise(request)
        with watch:
            prefix, mask = self._prompt(request)
            length = torch.full_like(x, 1 / request.steps)
            for step in range(request.steps):
                t = step / request.steps
                x = x + length * self._velocity(x, t, prefix, mask, request.guidance)
            decoded = self.vae.decode(x / self.vae.config.scaling_factor).sample
            shown = (decoded.float().clamp(-1, 1) + 1) / 2 * WHITE
            levels = shown.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return {"levels": levels}

    @torch.inference_mode()
    def ask(self, request: Request, watch: Watch) -> Outputs:
        """Their processor, their embedding of pictures, and `generate` of their language model."""
        shown = inputs.pictures(request.images, seed=request.seed)
        tag = f"{self.processor.image_tag}\n"
        conversation = [
            {
                "role": "User",
                "content": tag * request.images + request.question,
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
                max_new_tokens=request.new_tokens,
                do_sample=False,
                use_cache=True,
                streamer=TokenClock(watch),
            )
        return {"token_ids": token_ids[0].cpu().numpy()}

    def _noise(self, request: Request) -> Tensor:
        size = self.processor.image_processor.image_size // VAE_FACTOR
        shape = (LATENT_CHANNELS, size, size)
        drawn = inputs.noise(shape, batch=request.batch, seed=request.seed)
        return drawn.to(self.model.device, self.model.dtype)

    def _prompt(self, request: Request) -> tuple[Tensor, Tensor]:
        """Embeddings and mask: conditional rows, then those that see their first token alone."""
        said = [
            {"role": "User", "content": request.prompt},
            {"role": "Assistant", "content": ""},
        ]
        text = self.processor.apply_sft_template_for_multi_turn_prompts(
            conversations=said, sft_format=self.processor.sft_format, system_prompt=""
        )
        # The last token announces the picture; the time token takes its place.
        row = self.tokenizer.encode(text + self.processor.image_start_tag)[:-1]
        rows = torch.tensor([row] * 2 * request.batch, device=self.model.device)
        rows[request.batch :, 1:] = self.processor.pad_id
        mask = torch.ones_like(rows)
        mask[request.batch :, 1:] = 0
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
