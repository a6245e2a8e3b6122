"""The unified model (paper figure 2): one causal LLM for text, images and noisy latents.

Understanding is `forward` (and transformers' `generate`), generation is `velocity`: one evaluation
at one time. The model knows neither the ODE, nor guidance, nor the VAE.
"""

from typing import Any, Unpack, cast

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    Cache,
    DynamicCache,
    GenerationMixin,
    PreTrainedModel,
    SiglipVisionModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.utils.deprecation import deprecate_kwarg
from transformers.utils.generic import TransformersKwargs, can_return_tuple

from janusflow.model.attention import NO_IMAGE, llm_mask
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.generation import EncodedLatent, GenerationDecoder, GenerationEncoder
from janusflow.model.layers import GlobalResponseNorm, Modulation
from janusflow.model.prompt import PrefixCache, Prompt, count_positions
from janusflow.model.repa import build_repa_head
from janusflow.model.row_reading import RowReading
from janusflow.model.text_generation import (
    TextGeneration,
    after_real_tokens,
    refuse_unknown_keywords,
)
from janusflow.model.understanding import Understanding


class JanusFlowForConditionalGeneration(
    Understanding, RowReading, TextGeneration, PreTrainedModel, GenerationMixin
):
    """SigLIP tower, generation encoder and decoder around one causal LM."""

    config: JanusFlowConfig
    config_class = JanusFlowConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _no_split_modules = ["ConvNextBlock", "SiglipEncoderLayer"]  # noqa: RUF012 (transformers asks for a list)
    input_modalities = ["text", "image"]  # noqa: RUF012
    # Saved under our names, whatever a model was read from (interop/conversion.py): what
    # transformers notes here to write the names that it has read is not kept.
    _weight_conversions = property(lambda _: [], lambda *_: None)

    def __init__(self, config: JanusFlowConfig) -> None:
        super().__init__(config)
        path, hidden_size = config.generation, config.hidden_size
        seen_size = path.width if config.uses_latent_input else config.vision_config.hidden_size
        self.begin_of_understanding = nn.Parameter(torch.zeros(1, hidden_size))
        self.understanding_encoder = SiglipVisionModel(config.vision_config)
        self.understanding_encoder.use_head = False  # nobody uses the pooled image
        self.understanding_aligner = nn.Linear(seen_size, hidden_size)
        self.generation_encoder = GenerationEncoder(path, hidden_size)
        self.generation_encoder_aligner = nn.Linear(path.width, hidden_size)
        # Of the dtype that the rest is built in, whatever the LLM's own file says.
        self.llm = AutoModelForCausalLM.from_config(
            config.llm_config, dtype=torch.get_default_dtype()
        )
        self.generation_decoder_norm = LlamaRMSNorm(hidden_size, eps=path.norm_eps)
        self.generation_decoder_aligner = nn.Linear(hidden_size, path.width)
        self.generation_decoder = GenerationDecoder(path, hidden_size)
        is_separate = config.understanding_input == "separate"
        self.latent_encoder = GenerationEncoder(path, hidden_size) if is_separate else None
        self.repa_head = build_repa_head(config)
        self.post_init()

    # ---- understanding ------------------------------------------------------------------------

    @can_return_tuple
    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")
    def forward(  # noqa: PLR0913 (what transformers passes)
        self,
        input_ids: Int[Tensor, "b t"] | None = None,
        attention_mask: Any = None,
        position_ids: Int[Tensor, "_ t"] | None = None,
        cache: Cache | None = None,
        inputs_embeds: Float[Tensor, "b t d"] | None = None,
        pixel_values: Float[Tensor, "n c y x"] | None = None,
        labels: Int[Tensor, "b t"] | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        block_sequence_ids: Int[Tensor, "b i"] | None = None,
        **kwargs: Unpack[TransformersKwargs],  # pyright: ignore[reportGeneralTypeIssues]
    ) -> CausalLMOutputWithPast:
        """Next-token logits, and with labels the mean cross entropy, in float32.

        Args:
            input_ids: tokens, with a start tag and placeholders for every image.
            attention_mask: 0 on padding, of cached and new positions [b s]; or masks made already.
            position_ids: counted from every row's first real token if not given.
            cache: keys and values of the positions before these.
            inputs_embeds: instead of `input_ids`; images replace start tags and placeholders.
            pixel_values: images to understand, in reading order.
            labels: the tokens again, -100 where nothing is learnt; nor is what follows padding.
            logits_to_keep: number of last positions, or their indices; 0 is all.
            block_sequence_ids: of `number_images`, for embeddings that hold images already.
            kwargs: transformers' own, such as output_hidden_states.

        Raises:
            PromptError: images and positions differ in number; both or no kind of inputs.
            TypeError: a keyword that transformers does not know.
        """
        if kwargs:
            refuse_unknown_keywords(kwargs)
        past = 0 if cache is None else cache.get_seq_length()
        embeds, images = self.embed_inputs(input_ids, inputs_embeds, pixel_values, past)
        is_made = attention_mask is not None and getattr(attention_mask, "ndim", 4) != 2
        padding = None if is_made else attention_mask
        if position_ids is None:
            counted = torch.arange(length := embeds.shape[1], device=embeds.device)[None] + past
            position_ids = counted if padding is None else count_positions(padding)[:, -length:]
        if not is_made:
            images = images if block_sequence_ids is None else block_sequence_ids
            attention_mask = llm_mask(self.llm.config, embeds, padding, cache=cache, images=images)
        output = self.llm(
            inputs_embeds=embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            **kwargs,  # pyright: ignore[reportCallIssue]
        )
        return CausalLMOutputWithPast(
            loss=None if labels is None else self._loss(output.logits, labels, padding, **kwargs),
            logits=output.logits,
            cache=output.cache,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )

    def _loss(
        self,
        logits: Float[Tensor, "b t v"],
        labels: Int[Tensor, "b t"],
        padding: Int[Tensor, "b s"] | None,
        **kwargs: Any,
    ) -> Float[Tensor, ""]:
        """Mean cross entropy in float32 of what follows real tokens."""
        labels = labels if padding is None else after_real_tokens(labels, padding)
        return self.loss_function(logits, labels, vocab_size=logits.shape[-1], **kwargs)

    # ---- generation ---------------------------------------------------------------------------

    @torch.no_grad()
    def encode_prompt(self, prompt: Prompt) -> PrefixCache:
        """Keys and values of the prompts, read once for all steps of the ODE."""
        embeds = self.llm.get_input_embeddings()(prompt.token_ids)
        cache = DynamicCache(config=self.config.llm_config)
        self.llm.base_model(
            inputs_embeds=embeds,
            attention_mask=llm_mask(self.llm.config, embeds, prompt.attention_mask, cache=cache),
            position_ids=prompt.position_ids,
            cache=cache,
            use_cache=True,
        )
        return PrefixCache(
            cache=cache,
            attention_mask=prompt.attention_mask,
            next_position=prompt.position_ids[:, -1] + 1,
        )

    def velocity(
        self,
        x_t: Float[Tensor, "b c y x"],
        t: Float[Tensor, " b"],
        prompt: Prompt | PrefixCache,
    ) -> Float[Tensor, "b c y x"]:
        """Predict data - noise for noisy latents at time t in [0, 1], given their prompts."""
        encoded = self.generation_encoder(x_t.to(self.dtype), t)
        tokens = self._image_tokens(encoded)
        output = self._continue(prompt, tokens)
        hidden = cast(Tensor, output.last_hidden_state)[:, -tokens.shape[1] :]
        return self._decoded(hidden, encoded)

    def _image_tokens(self, encoded: EncodedLatent) -> Float[Tensor, "b s d"]:
        """The time token, then one token a patch of the noisy latent."""
        patches = rearrange(encoded.features, "b w y x -> b (y x) w")
        patches = self.generation_encoder_aligner(patches)
        return torch.cat([encoded.time_embed[:, None], patches], dim=1)

    def _decoded(
        self, hidden: Float[Tensor, "b s d"], encoded: EncodedLatent
    ) -> Float[Tensor, "b c y x"]:
        """Velocity from the LLM's output for `_image_tokens`; the time token's is not used."""
        hidden = self.generation_decoder_aligner(self.generation_decoder_norm(hidden[:, 1:]))
        hidden = rearrange(hidden, "b (y x) w -> b w y x", y=encoded.features.shape[-2])
        return self.generation_decoder(hidden, encoded.features, encoded.time_embed)

    def _continue(
        self, prompt: Prompt | PrefixCache, tokens: Float[Tensor, "b s d"]
    ) -> BaseModelOutputWithPast:
        """Run the LLM over `tokens` after the prompt; a cache is left as it was found."""
        batch, length = tokens.shape[:2]
        own = prompt.attention_mask.new_ones(batch, length)
        mask, images = torch.cat([prompt.attention_mask, own], dim=1), None
        if self.config.image_attention == "bidirectional":
            images = nn.functional.pad(own - 1, (mask.shape[1] - length, 0), value=NO_IMAGE)
        positions = torch.arange(length, device=tokens.device)
        if isinstance(prompt, PrefixCache):
            cache, positions = prompt.reading(), prompt.next_position[:, None] + positions
        else:
            cache, before = None, prompt.position_ids
            prefix = self.llm.get_input_embeddings()(prompt.token_ids)
            tokens = torch.cat([prefix.to(tokens.dtype), tokens], dim=1)
            positions = torch.cat([before, before[:, -1:] + 1 + positions], dim=1)
        return self.llm.base_model(
            inputs_embeds=tokens,
            attention_mask=llm_mask(self.llm.config, tokens, mask, cache=cache, images=images),
            position_ids=positions,
            cache=cache,
            use_cache=cache is not None,
        )

    # ---- parameters ---------------------------------------------------------------------------

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Normal(0, 0.02) as LLaMA, convolutions by their fan-in; no modulation at first.

        With 0.02 the skip would enter the decoder at a tenth of the LLM's normalised features, and
        training would make up for it by inflating the tokens until prompts hardly count in them.
        """
        # By the module that owns the weights: transformers passes over modules that own none.
        if isinstance(module, (Modulation, GlobalResponseNorm)):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.Linear, nn.Conv2d)):
            std = 0.02 if isinstance(module, nn.Linear) else module.weight[0].numel() ** -0.5
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, LlamaRMSNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, JanusFlowForConditionalGeneration):
            nn.init.normal_(module.begin_of_understanding, std=0.02)
