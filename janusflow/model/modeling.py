"""The unified model (paper figure 2): one causal LLM that reads text, pictures and noisy latents.

Seeing and drawing are separate methods. The model does not know the ODE, guidance or the VAE:
`velocity` is one evaluation at one time.
"""

from typing import NamedTuple, cast

import torch
from einops import rearrange
from jaxtyping import Float, Int
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
from janusflow.config.model import RepaConfig
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.generation import GenerationDecoder, GenerationEncoder
from janusflow.model.layers import Modulation, RMSNorm
from janusflow.model.prompt import Prompt, PromptCache


class FlowPrediction(NamedTuple):
    """One evaluation of the flow half.

    `alignment` is the REPA head's guess of the understanding features of the clean picture,
    None unless it was asked for.
    """

    velocity: Float[Tensor, "b c y x"]
    alignment: Float[Tensor, "b p w"] | None


class RepaHead(nn.Sequential):
    """The 3-layer MLP h_phi, LLM features to the understanding encoder's (paper section 3.2)."""

    def __init__(self, in_size: int, out_size: int, config: RepaConfig) -> None:
        super().__init__(
            nn.Linear(in_size, config.hidden_size),
            nn.SiLU(),
            nn.Linear(config.hidden_size, config.hidden_size),
            nn.SiLU(),
            nn.Linear(config.hidden_size, out_size),
        )


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
        flow, hidden_size = config.flow, config.hidden_size
        vision_size = config.vision_config.hidden_size
        self.begin_of_understanding = nn.Parameter(torch.zeros(1, hidden_size))
        self.understanding_encoder = SiglipVisionModel(config.vision_config)
        self.understanding_aligner = nn.Linear(vision_size, hidden_size)
        self.generation_encoder = GenerationEncoder(flow, hidden_size)
        self.generation_encoder_aligner = nn.Linear(flow.width, hidden_size)
        self.llm = AutoModelForCausalLM.from_config(config.llm_config)
        self.generation_decoder_norm = RMSNorm(hidden_size, eps=flow.norm_eps)
        self.generation_decoder_aligner = nn.Linear(hidden_size, flow.width)
        self.generation_decoder = GenerationDecoder(flow, hidden_size)
        self.repa_head = _repa_head(config)
        self.post_init()

    # ---- seeing -------------------------------------------------------------------------------

    def understanding_features(
        self, pixel_values: Float[Tensor, "n c y x"]
    ) -> Float[Tensor, "n p w"]:
        """Patch features of the tower, after its final norm; REPA's target too."""
        return self.understanding_encoder(pixel_values.to(self.dtype)).last_hidden_state

    def embed_images(self, pixel_values: Float[Tensor, "n c y x"]) -> Float[Tensor, "n p d"]:
        """Embed pictures for the LLM: `begin_of_understanding`, then one embedding a patch."""
        patches = self.understanding_aligner(self.understanding_features(pixel_values))
        begin = self.begin_of_understanding.expand(len(patches), 1, -1)
        return torch.cat([begin, patches], dim=1)

    def embed_conversation(
        self, token_ids: Int[Tensor, "b t"], pixel_values: Float[Tensor, "n c y x"] | None = None
    ) -> Float[Tensor, "b t d"]:
        """Embed tokens, putting the pictures on their image positions in reading order.

        Raises:
            PromptError: the tokens leave room for another number of picture embeddings.
        """
        embeds = self.llm.get_input_embeddings()(token_ids)
        is_image = self.is_image(token_ids)
        wanted = int(is_image.sum())
        images = (
            None
            if pixel_values is None
            else rearrange(self.embed_images(pixel_values), "n p d -> (n p) d")
        )
        got = 0 if images is None else len(images)
        if got != wanted:
            raise PromptError(
                f"{got} picture embeddings for {wanted} image positions in the tokens: pass one "
                "picture for every image placeholder, and no image tags inside the text."
            )
        if images is None:
            return embeds
        return embeds.masked_scatter(is_image[..., None], images.to(embeds.dtype))

    def is_image(self, token_ids: Int[Tensor, "b t"]) -> Tensor:
        """Positions a picture's embeddings take: the start tag and every placeholder."""
        return (token_ids == self.config.image_token_id) | (
            token_ids == self.config.image_start_token_id
        )

    def logits(
        self,
        embeds: Float[Tensor, "b t d"],
        attention_mask: Int[Tensor, "b t"] | Float[Tensor, "b 1 t t"],
        position_ids: Int[Tensor, "b t"] | None = None,
    ) -> Float[Tensor, "b t v"]:
        """Next-token logits at every position.

        Args:
            embeds: what is read.
            attention_mask: 1 on what is there, under plain causal attention; or, for rows that
                hold several samples, what is added to the attention scores.
            position_ids: by default counted from each row's first position that is there.
        """
        if position_ids is None:
            position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        return self.llm(
            inputs_embeds=embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
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
        logits = self.logits(self.embed_conversation(input_ids, pixel_values), attention_mask)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
            )
        return CausalLMOutputWithPast(loss=loss, logits=logits)

    # ---- drawing ------------------------------------------------------------------------------

    @torch.no_grad()
    def read_prompt(self, prompt: Prompt) -> PromptCache:
        """Read the prompts once; the cache then stands for them at every step."""
        cache = self.llm.base_model(
            input_ids=prompt.token_ids,
            attention_mask=prompt.attention_mask,
            position_ids=prompt.position_ids,
            cache=DynamicCache(config=self.config.llm_config),
            use_cache=True,
        ).cache
        return PromptCache(
            cache=cache,
            attention_mask=prompt.attention_mask,
            next_position=prompt.position_ids[:, -1] + 1,
        )

    def velocity(
        self,
        x_t: Float[Tensor, "b c y x"],
        t: Float[Tensor, " b"],
        prompt: Prompt | PromptCache,
    ) -> Float[Tensor, "b c y x"]:
        """Predict data - noise for noisy latents at time t in [0, 1], given their prompts."""
        return self.predict(x_t, t, prompt).velocity

    def predict(
        self,
        x_t: Float[Tensor, "b c y x"],
        t: Float[Tensor, " b"],
        prompt: Prompt | PromptCache,
        *,
        align: bool = False,
    ) -> FlowPrediction:
        """Evaluate the flow half; `align` adds the REPA head's output, for training."""
        grid = x_t.shape[-2] // self.config.flow.patch_size
        features, time_embed = self.generation_encoder(x_t.to(self.dtype), t)
        image_tokens = self.generation_encoder_aligner(rearrange(features, "b w y x -> b (y x) w"))
        tokens = torch.cat([time_embed[:, None], image_tokens], dim=1)
        output = self._continue(prompt, tokens, output_hidden_states=align)
        hidden = cast(Tensor, output.last_hidden_state)[:, -image_tokens.shape[1] :]
        hidden = self.generation_decoder_aligner(self.generation_decoder_norm(hidden))
        hidden = rearrange(hidden, "b (y x) w -> b w y x", y=grid)
        velocity = self.generation_decoder(hidden, features, time_embed)
        return FlowPrediction(velocity, self._align(output) if align else None)

    def _align(self, output: BaseModelOutputWithPast) -> Float[Tensor, "b p w"]:
        head = self.config.repa_head
        if self.repa_head is None or head is None:
            raise ConfigError(
                "this model has no REPA head (repa: null in its config.json): add one with "
                "repa={'block': 6, 'hidden_size': 2048} or train with the REPA weight at 0."
            )
        blocks = cast(tuple[Tensor, ...], output.hidden_states)
        features = blocks[head.block][:, -self.config.flow.num_tokens :]
        return self.repa_head(features)

    def _continue(
        self,
        prompt: Prompt | PromptCache,
        tokens: Float[Tensor, "b s d"],
        *,
        output_hidden_states: bool,
    ) -> BaseModelOutputWithPast:
        """Run the LLM over `tokens` after the prompt; a cache is left as it was found."""
        batch, length = tokens.shape[:2]
        cached = isinstance(prompt, PromptCache)
        next_position = prompt.next_position if cached else prompt.position_ids[:, -1] + 1
        positions = next_position[:, None] + torch.arange(length, device=tokens.device)
        mask = torch.cat(
            [prompt.attention_mask, prompt.attention_mask.new_ones(batch, length)], dim=1
        )
        if not cached:
            prefix = self.llm.get_input_embeddings()(prompt.token_ids)
            tokens = torch.cat([prefix.to(tokens.dtype), tokens], dim=1)
            positions = torch.cat([prompt.position_ids, positions], dim=1)
        output = self.llm.base_model(
            inputs_embeds=tokens,
            attention_mask=mask,
            position_ids=positions,
            cache=prompt.cache if cached else None,
            use_cache=cached,
            output_hidden_states=output_hidden_states,
        )
        if cached:
            prompt.cache.crop(-length)
        return output

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
            is_linear = isinstance(module, nn.Linear)
            std = 0.02 if is_linear else module.weight[0].numel() ** -0.5
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, RMSNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, JanusFlowForConditionalGeneration):
            nn.init.normal_(module.begin_of_understanding, std=0.02)


def _repa_head(config: JanusFlowConfig) -> RepaHead | None:
    head = config.repa_head
    if head is None:
        return None
    num_blocks = config.get_text_config().num_hidden_layers
    if head.block > num_blocks:
        raise ConfigError(
            f"repa.block={head.block} but the LLM has {num_blocks} blocks: use at most that many."
        )
    return RepaHead(config.hidden_size, config.vision_config.hidden_size, head)


# Whoever imports the model can load it through transformers' own names.
AutoConfig.register(JanusFlowConfig.model_type, JanusFlowConfig, exist_ok=True)
AutoModel.register(JanusFlowConfig, JanusFlowForConditionalGeneration, exist_ok=True)
AutoModelForImageTextToText.register(
    JanusFlowConfig, JanusFlowForConditionalGeneration, exist_ok=True
)
