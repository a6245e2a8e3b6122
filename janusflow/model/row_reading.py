"""How the model reads training rows: understanding, generation and REPA in one pass of the LLM."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from janusflow.config.errors import ConfigError
from janusflow.model.attention import llm_mask, number_images
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.generation import EncodedLatent, GenerationEncoder
from janusflow.model.packed_attention import SDPA_PACKED
from janusflow.model.repa import RepaHead, build_repa_head
from janusflow.model.rows import Rows


class Reading(NamedTuple):
    """What one pass of the LLM over training rows gives."""

    logits: Float[Tensor, "n v"]
    """Of the learnt tokens, in reading order."""
    velocity: Float[Tensor, "p c y x"] | None
    """Of the noisy latents, if there were any."""
    alignment: Float[Tensor, "p k w"] | None
    """The REPA head's prediction of the clean images' tower features, if asked for."""


class RowReading:
    """The model's methods for training; the model has the parts named here."""

    config: JanusFlowConfig
    llm: Any
    generation_encoder: GenerationEncoder
    repa_head: RepaHead | None

    if TYPE_CHECKING:
        dtype: Any
        _init_weights: Callable[[nn.Module], None]
        embed_conversation: Callable[..., Float[Tensor, "b t d"]]
        _image_tokens: Callable[[EncodedLatent], Float[Tensor, "b s d"]]
        _decoded: Callable[[Tensor, EncodedLatent], Float[Tensor, "b c y x"]]

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
        """Logits of learnt tokens, velocities and REPA predictions from one pass of the LLM.

        Args:
            rows: their positions for images are filled in reading order.
            is_learnt: tokens whose logits are wanted, never a row's first.
            pixel_values: images to understand.
            features: their `image_features` instead, where these are known already.
            x_t: noisy latents of the images to generate.
            t: their times in [0, 1].
            align: also predict the tower features of the images to generate (REPA).

        Raises:
            PromptError: another number of images than the rows have positions for.
            ConfigError: `align` without a REPA head, or an attention implementation that cannot
                mask rows.
        """
        embeds = self.embed_conversation(rows.token_ids, pixel_values, features=features)
        encoded, places = None, None
        if x_t is not None and t is not None:
            encoded = self.generation_encoder(x_t.to(self.dtype), t)
            tokens = rearrange(self._image_tokens(encoded), "p s d -> (p s) d")
            places = rows.drawing_places(len(tokens))
            flat = embeds.flatten(0, 1).index_copy(0, places, tokens.to(embeds.dtype))
            embeds = flat.view_as(embeds)
        is_before = is_learnt.roll(-1, dims=1)
        kept = is_before.any(0).nonzero()[:, 0]
        output = self.llm(
            inputs_embeds=embeds,
            **self._rows_mask(rows, embeds),
            position_ids=rows.position_ids,
            use_cache=False,
            output_hidden_states=True,
            logits_to_keep=kept,
        )
        logits = output.logits[is_before[:, kept]]
        if encoded is None or places is None:
            return Reading(logits, None, None)

        def hidden_of_images(block: int) -> Float[Tensor, "p s d"]:
            hidden = output.hidden_states[block].flatten(0, 1).index_select(0, places)
            return rearrange(hidden, "(p s) d -> p s d", p=len(encoded.features))

        velocity = self._decoded(hidden_of_images(-1), encoded)
        return Reading(logits, velocity, self._aligned(hidden_of_images) if align else None)

    def _rows_mask(self, rows: Rows, embeds: Float[Tensor, "b t d"]) -> dict[str, Any]:
        """The LLM's mask; with `sdpa_packed` on a CPU also where the samples are."""
        images = number_images(rows.token_ids, self.config, rows.is_drawing)
        mask = llm_mask(self.llm.config, embeds, None, images=images, rule=rows.rule())
        only = next(iter(mask.values())) if isinstance(mask, dict) and len(mask) == 1 else mask
        is_packed = self.llm.config._attn_implementation == SDPA_PACKED and embeds.is_cpu
        if not is_packed or not isinstance(only, Tensor):
            return {"attention_mask": mask}
        return {"attention_mask": mask, "packed": rows.packed_samples(only)}

    def _aligned(
        self, hidden_of_images: Callable[[int], Float[Tensor, "p s d"]]
    ) -> Float[Tensor, "p k w"]:
        settings = self.config.repa
        if self.repa_head is None or settings is None:
            raise ConfigError(
                "this model has no REPA head (repa: null in its config.json): add one with "
                "repa={'block': 6, 'hidden_size': 2048} or train with alignment=none."
            )
        return self.repa_head(hidden_of_images(settings.block)[:, 1:])

    def add_repa_head(self, settings: dict) -> None:
        """Give a model that has none (the release) a new REPA head, to be trained."""
        self.config.repa = settings
        self.repa_head = build_repa_head(self.config)
        if self.repa_head is not None:
            self.repa_head.apply(self._init_weights)
