"""The unified model (paper figure 2): one causal LLM that reads text, images and noisy latents.

Seeing and drawing are separate methods. The model does not know the ODE, guidance or the VAE:
`velocity` is one evaluation at one time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    DynamicCache,
    PreTrainedModel,
    SiglipVisionModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from janusflow.config.errors import ConfigError, PromptError
from janusflow.model.attention import SDPA_PACKED, llm_mask, number_images
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.generation import EncodedLatent, GenerationDecoder, GenerationEncoder
from janusflow.model.layers import Modulation, RMSNorm
from janusflow.model.prompt import PrefixCache, Prompt
from janusflow.model.repa import build_repa_head
from janusflow.model.rows import Rows


class Reading(NamedTuple):
    """What one pass of the LLM over training rows gives.

    `logits` are those of the learnt tokens, in reading order. `velocity` is there if images were
    to be drawn, `alignment` (the REPA head's guess of the clean images' features) if asked for.
    """

    logits: Float[Tensor, "n v"]
    velocity: Float[Tensor, "p c y x"] | None
    alignment: Float[Tensor, "p k w"] | None


class JanusFlowForConditionalGeneration(PreTrainedModel):
    """SigLIP tower, generation encoder and decoder around one causal LM."""

    config: JanusFlowConfig
    config_class = JanusFlowConfig
    base_model_prefix = ""
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _no_split_modules = ["ConvNextBlock", "SiglipEncoderLayer"]  # noqa: RUF012 (transformers asks for a list)
    input_modalities = ["text", "image"]  # noqa: RUF012

    def __init__(self, config: JanusFlowConfig) -> None:
        super().__init__(config)
        flow, hidden_size = config.generation, config.hidden_size
        seen_size = flow.width if config.uses_latent_input else config.vision_config.hidden_size
        self.begin_of_understanding = nn.Parameter(torch.zeros(1, hidden_size))
        self.understanding_encoder = SiglipVisionModel(config.vision_config)
        self.understanding_encoder.use_head = False  # nobody uses the pooled image
        self.understanding_aligner = nn.Linear(seen_size, hidden_size)
        self.generation_encoder = GenerationEncoder(flow, hidden_size)
        self.generation_encoder_aligner = nn.Linear(flow.width, hidden_size)
        self.llm = AutoModelForCausalLM.from_config(
            config.llm_config, attn_implementation=SDPA_PACKED
        )
        self.generation_decoder_norm = RMSNorm(hidden_size, eps=flow.norm_eps)
        self.generation_decoder_aligner = nn.Linear(hidden_size, flow.width)
        self.generation_decoder = GenerationDecoder(flow, hidden_size)
        is_separate = config.understanding_input == "separate"
        self.latent_encoder = GenerationEncoder(flow, hidden_size) if is_separate else None
        self.repa_head = build_repa_head(config)
        self.post_init()

    # ---- seeing -------------------------------------------------------------------------------

    def understanding_features(
        self, pixel_values: Float[Tensor, "n c y x"]
    ) -> Float[Tensor, "n p w"]:
        """Patch features of the tower, after its final norm; REPA's target too."""
        return self.understanding_encoder(pixel_values.to(self.dtype)).last_hidden_state

    def image_features(self, pixel_values: Float[Tensor, "n c y x"]) -> Float[Tensor, "n p w"]:
        """Patch features that the LLM is shown of an image: the tower's.

        With `config.uses_latent_input` these are latents instead of pixels, encoded at time 1.
        """
        if not self.config.uses_latent_input:
            return self.understanding_features(pixel_values)
        encoder = self.latent_encoder or self.generation_encoder
        seen = encoder(pixel_values.to(self.dtype), pixel_values.new_ones(len(pixel_values)))
        return rearrange(seen.features, "n w y x -> n (y x) w")

    def embed_images(self, features: Float[Tensor, "n p w"]) -> Float[Tensor, "n q d"]:
        """Embed seen features for the LLM: `begin_of_understanding`, then one embedding a patch."""
        patches = self.understanding_aligner(features.to(self.dtype))
        begin = self.begin_of_understanding.expand(len(patches), 1, -1)
        return torch.cat([begin, patches], dim=1)

    def embed_conversation(
        self,
        token_ids: Int[Tensor, "b t"],
        pixel_values: Float[Tensor, "n c y x"] | None = None,
        *,
        features: Float[Tensor, "n p w"] | None = None,
    ) -> Float[Tensor, "b t d"]:
        """Embed tokens, and images (pixels or `image_features`) in reading order in their places.

        Raises:
            PromptError: the tokens leave room for another number of image embeddings.
        """
        embeds = self.llm.get_input_embeddings()(token_ids)
        is_image = self.is_image(token_ids)
        wanted = int(is_image.sum())
        if pixel_values is not None:
            features = self.image_features(pixel_values)
        images = None if features is None else self.embed_images(features).flatten(0, 1)
        got = 0 if images is None else len(images)
        if got != wanted:
            raise PromptError(
                f"{got} image embeddings for {wanted} image positions in the tokens: pass one "
                "image for every image placeholder, and no image tags inside the text."
            )
        if images is None:
            return embeds
        return embeds.index_put((is_image,), images.to(embeds.dtype))

    def is_image(self, token_ids: Int[Tensor, "b t"]) -> Tensor:
        """Positions an image's embeddings take: the start tag and every placeholder."""
        return (token_ids == self.config.image_token_id) | (
            token_ids == self.config.image_start_token_id
        )

    def logits(
        self,
        embeds: Float[Tensor, "b t d"],
        attention_mask: Int[Tensor, "b t"],
        *,
        images: Int[Tensor, "b t"] | None = None,
    ) -> Float[Tensor, "b t v"]:
        """Next-token logits at every position; `images` are those whose tokens see ahead."""
        return self.llm(
            inputs_embeds=embeds,
            attention_mask=llm_mask(attention_mask, images, embeds),
            position_ids=(attention_mask.cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
        ).logits

    def forward(
        self,
        input_ids: Int[Tensor, "b t"],
        attention_mask: Int[Tensor, "b t"] | None = None,
        pixel_values: Float[Tensor, "n c y x"] | None = None,
        labels: Int[Tensor, "b t"] | None = None,
    ) -> CausalLMOutputWithPast:
        """See and read, with the transformers call people know; drawing is `velocity`."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        embeds = self.embed_conversation(input_ids, pixel_values)
        logits = self.logits(embeds, attention_mask, images=number_images(input_ids, self.config))
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
            )
        return CausalLMOutputWithPast(loss=loss, logits=logits)

    # ---- drawing ------------------------------------------------------------------------------

    @torch.no_grad()
    def encode_prompt(self, prompt: Prompt) -> PrefixCache:
        """Read the prompts once; the cache then stands for them at every step."""
        cache = self.llm.base_model(
            input_ids=prompt.token_ids,
            attention_mask=prompt.attention_mask,
            position_ids=prompt.position_ids,
            cache=DynamicCache(config=self.config.llm_config),
            use_cache=True,
        ).cache
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
        tokens = self._drawing_tokens(encoded)
        output = self._continue(prompt, tokens)
        hidden = cast(Tensor, output.last_hidden_state)[:, -tokens.shape[1] :]
        return self._decoded(hidden, encoded)

    def _drawing_tokens(self, encoded: EncodedLatent) -> Float[Tensor, "b s d"]:
        """The time token, then one token a patch of the noisy latent."""
        patches = rearrange(encoded.features, "b w y x -> b (y x) w")
        patches = self.generation_encoder_aligner(patches)
        return torch.cat([encoded.time_embed[:, None], patches], dim=1)

    def _decoded(
        self, hidden: Float[Tensor, "b s d"], encoded: EncodedLatent
    ) -> Float[Tensor, "b c y x"]:
        """Velocity from what the LLM made of `_drawing_tokens`; the time token's is not used."""
        hidden = self.generation_decoder_aligner(self.generation_decoder_norm(hidden[:, 1:]))
        hidden = rearrange(hidden, "b (y x) w -> b w y x", y=encoded.features.shape[-2])
        return self.generation_decoder(hidden, encoded.features, encoded.time_embed)

    def _continue(
        self, prompt: Prompt | PrefixCache, tokens: Float[Tensor, "b s d"]
    ) -> BaseModelOutputWithPast:
        """Run the LLM over `tokens` after the prompt; a cache is left as it was found."""
        batch, length = tokens.shape[:2]
        cached = isinstance(prompt, PrefixCache)
        next_position = prompt.next_position if cached else prompt.position_ids[:, -1] + 1
        positions = next_position[:, None] + torch.arange(length, device=tokens.device)
        own = prompt.attention_mask.new_ones(batch, length)
        mask = torch.cat([prompt.attention_mask, own], dim=1)
        if not cached:
            prefix = self.llm.get_input_embeddings()(prompt.token_ids)
            tokens = torch.cat([prefix.to(tokens.dtype), tokens], dim=1)
            positions = torch.cat([prompt.position_ids, positions], dim=1)
        own_only = nn.functional.pad(own, (len(prompt), 0))
        images = own_only if self.config.bidirectional_image_attention else None
        return self.llm.base_model(
            inputs_embeds=tokens,
            attention_mask=llm_mask(mask, images, tokens),
            position_ids=positions,
            cache=prompt.reading() if cached else None,
            use_cache=cached,
        )

    # ---- training -----------------------------------------------------------------------------

    def read_rows(
        self,
        rows: Rows,
        *,
        is_learnt: Bool[Tensor, "b t"],
        pixel_values: Float[Tensor, "n c_pixel y_pixel x_pixel"] | None = None,
        features: Float[Tensor, "n k w"] | None = None,
        x_t: Float[Tensor, "p c y x"] | None = None,
        t: Float[Tensor, " p"] | None = None,
        align: bool = False,
    ) -> Reading:
        """See, read and draw in one pass of the LLM.

        Args:
            rows: what is read; their image and drawing positions are filled in reading order.
            is_learnt: tokens whose logits are wanted, never a row's first.
            pixel_values: the images that are seen.
            features: their `image_features` instead, where these are known already.
            x_t: noisy latents of the images to draw, with their times `t`.
            align: also guess the drawn images' understanding features (REPA).

        Raises:
            PromptError: another number of images than the rows have room for.
            ConfigError: `align` without a REPA head.
        """
        embeds = self.embed_conversation(rows.token_ids, pixel_values, features=features)
        encoded = None
        if x_t is not None and t is not None:
            encoded = self.generation_encoder(x_t.to(self.dtype), t)
            tokens = rearrange(self._drawing_tokens(encoded), "p s d -> (p s) d")
            rows.require_room(len(tokens))
            embeds = embeds.index_put((rows.is_drawing,), tokens.to(embeds.dtype))
        is_before = is_learnt.roll(-1, dims=1)
        kept = is_before.any(0).nonzero()[:, 0]
        output = self.llm(
            inputs_embeds=embeds,
            **self._sight(rows, embeds),
            position_ids=rows.position_ids,
            use_cache=False,
            output_hidden_states=True,
            logits_to_keep=kept,
        )
        logits = output.logits[is_before[:, kept]]
        if encoded is None:
            return Reading(logits, None, None)

        def drawn(block: int) -> Float[Tensor, "p s d"]:
            hidden = output.hidden_states[block][rows.is_drawing]
            return rearrange(hidden, "(p s) d -> p s d", p=len(encoded.features))

        velocity = self._decoded(drawn(-1), encoded)
        return Reading(logits, velocity, self._aligned(drawn) if align else None)

    def _sight(self, rows: Rows, embeds: Float[Tensor, "b t d"]) -> dict[str, Any]:
        """What tells the LLM who sees whom; on a GPU one product of whole rows costs less."""
        images = number_images(rows.token_ids, self.config, rows.is_drawing)
        mask = rows.attention_mask(embeds.dtype, images=images)
        is_apart = embeds.is_cpu and self.llm.config._attn_implementation == SDPA_PACKED
        return {"attention_mask": mask} | ({"apart": rows.apart(mask)} if is_apart else {})

    def _aligned(self, drawn: Callable[[int], Float[Tensor, "p s d"]]) -> Float[Tensor, "p k w"]:
        head = self.config.repa
        if self.repa_head is None or head is None:
            raise ConfigError(
                "this model has no REPA head (repa: null in its config.json): add one with "
                "repa={'block': 6, 'hidden_size': 2048} or train with alignment=none."
            )
        return self.repa_head(drawn(head.block)[:, 1:])

    def add_repa_head(self, settings: dict) -> None:
        """Give a model that has none (the release) a new REPA head, to be trained."""
        self.config.repa = settings
        self.repa_head = build_repa_head(self.config)
        if self.repa_head is not None:
            self.repa_head.apply(self._init_weights)

    # ---- parameters ---------------------------------------------------------------------------

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Normal(0, 0.02) as LLaMA, convolutions by their fan-in; no modulation at first.

        With 0.02 the skip would enter the decoder at a tenth of the LLM's normalised features, and
        training would make up for it by inflating the tokens until prompts hardly count in them.
        """
        # By the module that owns the weights: transformers passes over modules that own none.
        if isinstance(module, Modulation):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.Linear, nn.Conv2d)):
            std = 0.02 if isinstance(module, nn.Linear) else module.weight[0].numel() ** -0.5
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, RMSNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, JanusFlowForConditionalGeneration):
            nn.init.normal_(module.begin_of_understanding, std=0.02)


# Whoever imports the model can load it through transformers' own names.
AutoConfig.register(JanusFlowConfig.model_type, JanusFlowConfig, exist_ok=True)
AutoModel.register(JanusFlowConfig, JanusFlowForConditionalGeneration, exist_ok=True)
AutoModelForImageTextToText.register(
    JanusFlowConfig, JanusFlowForConditionalGeneration, exist_ok=True
)
