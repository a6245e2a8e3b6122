"""The release's weight names and ours: transformers' conversion mapping, read both ways.

It is registered, so that `from_pretrained` reads the release's files by it. A model is always saved
under our names; `to_official` is the way back.
"""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import (
    Chunk,
    Concatenate,
    ConversionOps,
    WeightConverter,
    WeightRenaming,
    apply_converters,
    apply_renamings,
)

from janusflow.config.errors import CheckpointError
from janusflow.model.modeling import JanusFlowForConditionalGeneration

Shape = tuple[int, ...]
Transform = WeightConverter | WeightRenaming

TRAINING_ONLY = "repa_head."
"""Weights under this name serve training alone; the release has no place for them."""
NUM_LISTED = 5
"""Weights that an error names of each kind; of the others it says how many there are."""


# ---- the mapping ----------------------------------------------------------------------------


class LeadingAxis(ConversionOps):
    """Drops, or adds, the axis of length 1 in front of the release's position embedding."""

    def __init__(self, *, is_added: bool = False) -> None:
        self.is_added = is_added

    def convert(
        self, input_dict: dict[str, Any], *, target_patterns: list[str], **_: Any
    ) -> dict[str, Any]:
        """One tensor, as transformers calls it."""
        (tensor,) = next(iter(input_dict.values()))
        return {target_patterns[0]: tensor[None] if self.is_added else tensor[0]}

    @property
    def reverse_op(self) -> ConversionOps:
        """The other of the two."""
        return LeadingAxis(is_added=not self.is_added)


class QueryAndKeyValue(ConversionOps):
    """Splits the pooling head's projection into the release's two: query, and key with value."""

    def convert(
        self, input_dict: dict[str, Any], *, target_patterns: list[str], **_: Any
    ) -> dict[str, Any]:
        """One tensor to two, a third and two thirds of its rows."""
        (fused,) = next(iter(input_dict.values()))
        rows = len(fused) // 3
        return dict(zip(target_patterns, fused.split([rows, len(fused) - rows]), strict=True))

    @property
    def reverse_op(self) -> ConversionOps:
        """The way in, which the mapping names."""
        return JoinedQueryAndKeyValue()


class JoinedQueryAndKeyValue(Concatenate):
    """Joins the release's query and key-value projections, as transformers' SigLIP has them."""

    @property
    def reverse_op(self) -> ConversionOps:
        """Not transformers' own, which splits into equal parts."""
        return QueryAndKeyValue()


_TOWER = r"^vision_und_enc_model\.vision_tower\."
_PARTS = {
    "^beg_of_und_embed": "begin_of_understanding",
    _TOWER + r"patch_embed\.proj": "understanding_encoder.embeddings.patch_embedding",
    _TOWER + "blocks": "understanding_encoder.encoder.layers",
    _TOWER + "norm": "understanding_encoder.post_layernorm",
    _TOWER + "attn_pool": "understanding_encoder.head",
    "^vision_und_enc_aligner": "understanding_aligner",
    "^vision_gen_enc_model": "generation_encoder",
    "^vision_gen_enc_aligner": "generation_encoder_aligner",
    "^vision_gen_dec_model": "generation_decoder",
    "^vision_gen_dec_aligner_norm": "generation_decoder_norm",
    "^vision_gen_dec_aligner": "generation_decoder_aligner",
    "^language_model": "llm",
}
_IN_TOWER = {
    r"\.norm1": ".layer_norm1",
    r"\.norm2": ".layer_norm2",
    r"\.attn\.proj": ".self_attn.out_proj",
    r"head\.latent": "head.probe",
    r"head\.proj": "head.attention.out_proj",
    r"head\.norm": "head.layernorm",
}
_IN_BLOCKS = {
    r"mid_block\.res_blocks": "blocks",
    "channelwise_linear_1": "expand",
    "channelwise_norm": "response_norm",
    "channelwise_linear_2": "project",
    "cond_embeds_mapper": "modulation",
}
_IN_ENCODER = {"time_embed": "time_embedding", "in_conv": "patchify"}
_IN_DECODER = {r"out_convs\.0\.norm": "output_norm", r"out_convs\.0\.unpatch_conv": "unpatchify"}


def conversion_mapping() -> list[Transform]:
    """From the release's names to ours: the parts, then what lies within each."""
    position = "understanding_encoder.embeddings.position_embedding.weight"
    return [
        *_renamings(_PARTS),
        WeightConverter(_TOWER + "pos_embed", position, [LeadingAxis()]),
        *_within("understanding_encoder", _renamings(_IN_TOWER)),
        *_within("understanding_encoder", _fused_projections()),
        *_within("generation_encoder", _renamings(_IN_ENCODER | _IN_BLOCKS)),
        *_within("generation_decoder", _renamings(_IN_DECODER | _IN_BLOCKS)),
    ]


def _fused_projections() -> Iterator[WeightConverter]:
    """The tower's blocks store q, k, v in one; its pooling head q, and k with v."""
    yield WeightConverter(r"\.attn\.qkv", [f".self_attn.{x}_proj" for x in "qkv"], [Chunk()])
    for kind in ("weight", "bias"):
        stored = [rf"head\.q\.{kind}", rf"head\.kv\.{kind}"]
        yield WeightConverter(stored, f"head.attention.in_proj_{kind}", [JoinedQueryAndKeyValue()])


def _renamings(names: Mapping[str, str]) -> list[WeightRenaming]:
    return [WeightRenaming(official, ours) for official, ours in names.items()]


def _within(part: str, transforms: Iterable[Transform]) -> Iterator[Transform]:
    """The transforms, applied to names of this part only."""
    for transform in transforms:
        transform.scope_prefix, transform.base_model_prefix = part, ""
        yield transform


register_checkpoint_conversion_mapping(
    JanusFlowForConditionalGeneration.__name__, conversion_mapping(), overwrite=True
)


# ---- tensors by their names -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Weights of one layout that become weights of the other together."""

    sources: dict[str, str]
    """Names of one layout, each with the pattern of the converter that it matched."""
    target: str
    converter: WeightConverter | None
    renamings: tuple[WeightRenaming, ...] = ()
    """Applied to the names that the converter gives."""

    def convert(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of the other layout: views where nothing has to be joined or split."""
        if self.converter is None:
            (name,) = self.sources
            return {self.target: weights[name]}
        transform = deepcopy(self.converter)
        for name, pattern in self.sources.items():
            # transformers annotates what it calls while loading; when saving it hands tensors.
            tensor: Any = weights[name]
            transform.add_tensor(self.target, name, pattern, tensor)
        converted: dict[str, Any] = transform.convert(self.target)
        return {apply_renamings(name, [*self.renamings]): converted[name] for name in converted}


def conversions(names: Iterable[str], *, is_reversed: bool = False) -> list[Conversion]:
    """How weights of these names become ours; reversed, how ours become the release's.

    Names that are ours already stay as they are.
    """
    mapping = conversion_mapping()
    if is_reversed:
        mapping = [each.reverse_transform() for each in reversed(mapping)]
    renamings = [each for each in mapping if isinstance(each, WeightRenaming)]
    converters = [each for each in mapping if isinstance(each, WeightConverter)]
    found: dict[str, Conversion] = {}
    for name in names:
        renamed = name if is_reversed else apply_renamings(name, renamings)
        target, pattern = apply_converters(renamed, converters)
        if pattern is None and is_reversed:
            target = apply_renamings(target, renamings)
        converter = next((c for c in converters if pattern in c.source_patterns), None)
        found.setdefault(
            target,
            Conversion(
                sources={},
                target=target,
                converter=converter,
                renamings=tuple(renamings) if is_reversed else (),
            ),
        ).sources[name] = pattern or name
    return list(found.values())


def to_ours(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under our names."""
    pairs = (each.convert(official).items() for each in conversions(official))
    return {name: tensor for part in pairs for name, tensor in part}


def to_official(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the release's names, without those that only training uses."""
    kept = [name for name in ours if not name.startswith(TRAINING_ONLY)]
    pairs = (each.convert(ours).items() for each in conversions(kept, is_reversed=True))
    return {name: tensor for part in pairs for name, tensor in part}


# ---- shapes by their names --------------------------------------------------------------------


def shapes_of(model: nn.Module) -> dict[str, Shape]:
    """Shapes of all weights by name."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def official_shapes(ours: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shapes that the release stores, by its names, for weights that have these shapes in ours."""
    state = {name: torch.empty(shape, device="meta") for name, shape in ours.items()}
    return {name: tuple(tensor.shape) for name, tensor in to_official(state).items()}


def check_shapes(found: Mapping[str, Shape], expected: Mapping[str, Shape], *, where: str) -> None:
    """Refuse weights whose names or shapes differ in any way from the expected ones.

    Raises:
        CheckpointError: naming the first few of every kind, and how many there are.
    """
    refuse_differences(
        missing=expected.keys() - found.keys(),
        unused=found.keys() - expected.keys(),
        mis_shaped=[
            f"{name} {list(found[name])} instead of {list(shape)}"
            for name, shape in expected.items()
            if name in found and found[name] != shape
        ],
        where=where,
    )


def refuse_differences(
    *, missing: Iterable[str], unused: Iterable[str], mis_shaped: Iterable[str] = (), where: str
) -> None:
    """Refuse weights of which any is missing, unused or mis-shaped, as `check_shapes` does."""
    groups = {"missing": sorted(missing), "unused": sorted(unused), "mis-shaped": list(mis_shaped)}
    wrong = [f"{len(names)} {kind} ({_listed(names)})" for kind, names in groups.items() if names]
    if wrong:
        raise CheckpointError(
            f"{where}: weights do not fit: {'; '.join(wrong)}. Use the config.json that belongs to "
            "these weights, and all of their files."
        )


def _listed(names: list[str]) -> str:
    more = len(names) - NUM_LISTED
    return ", ".join(names[:NUM_LISTED]) + (f" and {more} more" if more > 0 else "")
