"""How the model reads training rows: understanding, generation and REPA in one pass of the LLM.

What the output layer and the block for REPA take is noted by hooks of that pass. Transformers' own
`output_hidden_states` would keep every block's, and break the graph of a compiled block; and the
output layer, with whatever an LLM does to its logits, runs on the learnt positions alone.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from einops import rearrange
from jaxtyping import Float, Int
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


@contextmanager
def noted_inputs(
    block: nn.Module, *, head: nn.Module, kept: Int[Tensor, " learnt"]
) -> Iterator[dict[nn.Module, Tensor]]:
    """Note what a block and the output layer take; the latter then runs on these positions only."""
    noted: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> Any:
        noted[module] = inputs[0]
        return inputs[0].flatten(0, 1)[kept] if module is head else None

    with ExitStack() as stack:
        for module in {block, head}:
            stack.callback(module.register_forward_pre_hook(note).remove)
        yield noted


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
        learnt_positions: Int[Tensor, " learnt"],
        pixel_values: Float[Tensor, "n c_pixel y_pixel x_pixel"] | None = None,
        features: Float[Tensor, "n k w"] | None = None,
        x_t: Float[Tensor, "p c y x"] | None = None,
        t: Float[Tensor, " p"] | None = None,
        align: bool = False,
    ) -> Reading:
        """Logits of learnt tokens, velocities and REPA predictions from one pass of the LLM.

        Args:
            rows: their positions for images are filled in reading order.
            learnt_positions: of tokens whose logits are wanted, never a row's first; indices of
                the flattened rows.
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
        encoded, drawing = None, None
        if x_t is not None and t is not None:
            encoded = self.generation_encoder(x_t.to(self.dtype), t)
            tokens = rearrange(self._image_tokens(encoded), "p s d -> (p s) d")
            drawing = rows.drawing_positions_of(len(tokens))
            flat = embeds.flatten(0, 1).index_put((drawing,), tokens.to(embeds.dtype))
            embeds = flat.view_as(embeds)
        head = self.llm.get_output_embeddings()
        repa_block = self._repa_block() if align else head
        with noted_inputs(repa_block, head=head, kept=learnt_positions - 1) as hidden:
            output = self.llm(
                inputs_embeds=embeds,
                **self._rows_mask(rows, embeds),
                position_ids=rows.position_ids,
                use_cache=False,
            )
        if encoded is None:
            return Reading(output.logits, None, None)

        def hidden_of_images(module: nn.Module) -> Float[Tensor, "p s d"]:
            found = hidden[module].flatten(0, 1)[drawing]
            return rearrange(found, "(p s) d -> p s d", p=len(encoded.features))

        velocity = self._decoded(hidden_of_images(head), encoded)
        if not align or self.repa_head is None:
            return Reading(output.logits, velocity, None)
        alignment = self.repa_head(hidden_of_images(repa_block)[:, 1:])
        return Reading(output.logits, velocity, alignment)

    def _rows_mask(self, rows: Rows, embeds: Float[Tensor, "b t d"]) -> dict[str, Any]:
        """The LLM's mask; with `sdpa_packed` on a CPU also where the samples are."""
        images = number_images(rows.token_ids, self.config, rows.is_drawing)
        mask = llm_mask(self.llm.config, embeds, None, images=images, rule=rows.rule())
        only = next(iter(mask.values())) if isinstance(mask, dict) and len(mask) == 1 else mask
        is_packed = self.llm.config._attn_implementation == SDPA_PACKED and embeds.is_cpu
        if not is_packed or not isinstance(only, Tensor):
            return {"attention_mask": mask}
        return {"attention_mask": mask, "packed": rows.packed_samples(only)}

    def _repa_block(self) -> nn.Module:
        """What takes the features that the REPA head reads: the block after `repa.block` ones.

        After the last block it is the output layer, which takes them normalised.

        Raises:
            ConfigError: there is no head.
        """
        if self.repa_head is None or self.config.repa is None:
            raise ConfigError(
                "this model has no REPA head (repa: null in its config.json): add one with "
                "repa={'block': 6, 'hidden_size': 2048} or train with alignment=none."
            )
        layers, block = self.llm.base_model.layers, self.config.repa.block
        return layers[block] if block < len(layers) else self.llm.get_output_embeddings()

    def add_repa_head(self, settings: dict) -> None:
        """Give a model that has none (the release) a new REPA head, to be trained."""
        self.config.repa = settings
        self.repa_head = build_repa_head(self.config)
        if self.repa_head is not None:
            self.repa_head.apply(self._init_weights)
