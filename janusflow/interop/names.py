"""Which weight of the release is which of ours: one table, read in both directions, strictly.

A row pairs names of the release with ours. On both sides of a row the tensors, joined along their
first axis, hold the same rows of numbers in the same order, so that a row with one name on each
side is a renaming, and the others are the fused projections of the release's tower: (q, k, v) in
its blocks and q | (k, v) in its pooling head, where `transformers` has three and one.

`{i}` runs over the blocks of the row's stack; `{p}` over weight and bias.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, cat

from janusflow.config.errors import CheckpointError
from janusflow.model.configuration import JanusFlowConfig

Shape = tuple[int, ...]
Stack = Literal["tower", "llm", "encoder", "decoder"]

WEIGHT = ("weight",)
WEIGHT_AND_BIAS = ("weight", "bias")


@dataclass(frozen=True, kw_only=True)
class Row:
    """Names that hold the same numbers; a side with several shares its rows out as `*_rows` say."""

    official: tuple[str, ...]
    ours: tuple[str, ...]
    official_rows: tuple[int, ...] = (1,)
    ours_rows: tuple[int, ...] = (1,)
    parameters: tuple[str, ...] = ("",)
    stack: Stack | None = None
    has_leading_axis: bool = False
    """Whether the release keeps an axis of length 1 in front of the rows."""


_TOWER, _TOWER_OURS = "vision_und_enc_model.vision_tower.", "understanding_encoder."
_POOL, _POOL_OURS = _TOWER + "attn_pool.", _TOWER_OURS + "head."
_BLOCK, _BLOCK_OURS = _TOWER + "blocks.{i}.", _TOWER_OURS + "encoder.layers.{i}."
_ENCODER, _DECODER = "vision_gen_enc_model.", "vision_gen_dec_model."
_LAYER, _LAYER_OURS = "language_model.model.layers.{i}.", "llm.model.layers.{i}."


def _same(
    official: str, ours: str, parameters: tuple[str, ...] = ("",), stack: Stack | None = None
) -> Row:
    suffix = "" if parameters == ("",) else ".{p}"
    return Row(
        official=(official + suffix,), ours=(ours + suffix,), parameters=parameters, stack=stack
    )


def _convnext(official: str, ours: str, stack: Stack) -> tuple[Row, ...]:
    official, ours = official + "mid_block.res_blocks.{i}.", ours + "blocks.{i}."
    return (
        _same(official + "depthwise", ours + "depthwise", WEIGHT_AND_BIAS, stack),
        _same(official + "norm", ours + "norm", WEIGHT, stack),
        _same(official + "channelwise_linear_1", ours + "expand", WEIGHT_AND_BIAS, stack),
        _same(official + "channelwise_norm", ours + "response_norm", WEIGHT_AND_BIAS, stack),
        _same(official + "channelwise_linear_2", ours + "project", WEIGHT_AND_BIAS, stack),
        _same(official + "cond_embeds_mapper", ours + "modulation", WEIGHT_AND_BIAS, stack),
    )


TABLE: tuple[Row, ...] = (
    _same("beg_of_und_embed", "begin_of_understanding"),
    # Understanding: tower, pooling head (stored by the release, never run), aligner.
    Row(
        official=(_TOWER + "pos_embed",),
        ours=(_TOWER_OURS + "embeddings.position_embedding.weight",),
        has_leading_axis=True,
    ),
    _same(_TOWER + "patch_embed.proj", _TOWER_OURS + "embeddings.patch_embedding", WEIGHT_AND_BIAS),
    _same(_BLOCK + "norm1", _BLOCK_OURS + "layer_norm1", WEIGHT_AND_BIAS, "tower"),
    Row(
        official=(_BLOCK + "attn.qkv.{p}",),
        ours=tuple(_BLOCK_OURS + f"self_attn.{x}_proj." + "{p}" for x in "qkv"),
        official_rows=(3,),
        ours_rows=(1, 1, 1),
        parameters=WEIGHT_AND_BIAS,
        stack="tower",
    ),
    _same(_BLOCK + "attn.proj", _BLOCK_OURS + "self_attn.out_proj", WEIGHT_AND_BIAS, "tower"),
    _same(_BLOCK + "norm2", _BLOCK_OURS + "layer_norm2", WEIGHT_AND_BIAS, "tower"),
    _same(_BLOCK + "mlp.fc1", _BLOCK_OURS + "mlp.fc1", WEIGHT_AND_BIAS, "tower"),
    _same(_BLOCK + "mlp.fc2", _BLOCK_OURS + "mlp.fc2", WEIGHT_AND_BIAS, "tower"),
    _same(_TOWER + "norm", _TOWER_OURS + "post_layernorm", WEIGHT_AND_BIAS),
    _same(_POOL + "latent", _POOL_OURS + "probe"),
    Row(
        official=(_POOL + "q.{p}", _POOL + "kv.{p}"),
        ours=(_POOL_OURS + "attention.in_proj_{p}",),
        official_rows=(1, 2),
        ours_rows=(3,),
        parameters=WEIGHT_AND_BIAS,
    ),
    _same(_POOL + "proj", _POOL_OURS + "attention.out_proj", WEIGHT_AND_BIAS),
    _same(_POOL + "norm", _POOL_OURS + "layernorm", WEIGHT_AND_BIAS),
    _same(_POOL + "mlp.fc1", _POOL_OURS + "mlp.fc1", WEIGHT_AND_BIAS),
    _same(_POOL + "mlp.fc2", _POOL_OURS + "mlp.fc2", WEIGHT_AND_BIAS),
    _same("vision_und_enc_aligner", "understanding_aligner", WEIGHT_AND_BIAS),
    # Generation encoder and its aligner.
    _same(
        _ENCODER + "time_embed.linear_1",
        "generation_encoder.time_embedding.linear_1",
        WEIGHT_AND_BIAS,
    ),
    _same(
        _ENCODER + "time_embed.linear_2",
        "generation_encoder.time_embedding.linear_2",
        WEIGHT_AND_BIAS,
    ),
    _same(_ENCODER + "in_conv", "generation_encoder.patchify", WEIGHT_AND_BIAS),
    *_convnext(_ENCODER, "generation_encoder.", "encoder"),
    _same("vision_gen_enc_aligner", "generation_encoder_aligner", WEIGHT_AND_BIAS),
    # Generation decoder, its aligner and the norm before it.
    *_convnext(_DECODER, "generation_decoder.", "decoder"),
    _same(_DECODER + "out_convs.0.norm", "generation_decoder.output_norm", WEIGHT),
    _same(_DECODER + "out_convs.0.unpatch_conv", "generation_decoder.unpatchify", WEIGHT_AND_BIAS),
    _same(_DECODER + "input_norm", "generation_decoder.input_norm", WEIGHT),
    _same("vision_gen_dec_aligner_norm", "generation_decoder_norm", WEIGHT),
    _same("vision_gen_dec_aligner", "generation_decoder_aligner", WEIGHT_AND_BIAS),
    # The LLM: LLaMA under `transformers`' own names.
    _same("language_model.model.embed_tokens", "llm.model.embed_tokens", WEIGHT),
    *(
        _same(_LAYER + name, _LAYER_OURS + name, WEIGHT, "llm")
        for name in (
            *(f"self_attn.{x}_proj" for x in "qkvo"),
            *(f"mlp.{x}_proj" for x in ("gate", "up", "down")),
            "input_layernorm",
            "post_attention_layernorm",
        )
    ),
    _same("language_model.model.norm", "llm.model.norm", WEIGHT),
    _same("language_model.lm_head", "llm.lm_head", WEIGHT),
)

TRAINING_ONLY = "repa_head."
"""Weights under this name serve training alone; the release has no place for them."""


def rows_of(config: JanusFlowConfig) -> list[Row]:
    """The table with every `{i}` and `{p}` filled in for a model of this size."""
    num_blocks: dict[Stack | None, int] = {
        None: 1,
        "tower": config.vision_config.num_hidden_layers,
        "llm": config.get_text_config().num_hidden_layers,
        "encoder": config.generation.num_encoder_blocks,
        "decoder": config.generation.num_decoder_blocks,
    }

    def filled(row: Row, i: int, p: str) -> Row:
        return Row(
            official=tuple(name.format(i=i, p=p) for name in row.official),
            ours=tuple(name.format(i=i, p=p) for name in row.ours),
            official_rows=row.official_rows,
            ours_rows=row.ours_rows,
            has_leading_axis=row.has_leading_axis,
        )

    return [
        filled(row, i, p)
        for row in TABLE
        for i in range(num_blocks[row.stack])
        for p in row.parameters
    ]


def official_shapes(rows: Iterable[Row], ours: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shapes the release stores for weights that have these shapes in our model.

    Raises:
        CheckpointError: the table and our model do not name the same weights.
    """
    rows = list(rows)
    named = {name for row in rows for name in row.ours}
    present = {name for name in ours if not name.startswith(TRAINING_ONLY)}
    refuse_differences(
        missing=named - present, unused=present - named, what="model for the release's layout"
    )
    shapes: dict[str, Shape] = {}
    for row in rows:
        num_rows, *rest = _joined_shape([ours[name] for name in row.ours])
        leading = (1,) if row.has_leading_axis else ()
        for name, share in zip(row.official, row.official_rows, strict=True):
            shapes[name] = (*leading, num_rows * share // sum(row.official_rows), *rest)
    return shapes


def row_to_ours(row: Row, official: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Our weights of one row, as views of the release's where nothing has to be joined."""
    tensors = [official[name] for name in row.official]
    if row.has_leading_axis:
        tensors = [tensor[0] for tensor in tensors]
    yield from _share_out(row.ours, row.ours_rows, tensors)


def row_to_official(row: Row, ours: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The release's weights of one row, as views of ours where nothing has to be joined."""
    for name, tensor in _share_out(
        row.official, row.official_rows, [ours[name] for name in row.ours]
    ):
        yield name, tensor[None] if row.has_leading_axis else tensor


def _share_out(
    names: tuple[str, ...], shares: tuple[int, ...], tensors: list[Tensor]
) -> Iterator[tuple[str, Tensor]]:
    joined = tensors[0] if len(tensors) == 1 else cat(tensors)
    unit = len(joined) // sum(shares)
    parts = joined.split([unit * share for share in shares]) if len(names) > 1 else (joined,)
    yield from zip(names, parts, strict=True)


def _joined_shape(shapes: list[Shape]) -> Shape:
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])


def check_shapes(found: Mapping[str, Shape], expected: Mapping[str, Shape], *, where: str) -> None:
    """Refuse a checkpoint whose names or shapes differ in any way from the expected ones."""
    refuse_differences(
        missing=expected.keys() - found.keys(),
        unused=found.keys() - expected.keys(),
        mis_shaped=[
            f"{name} {list(found[name])} instead of {list(shape)}"
            for name, shape in expected.items()
            if name in found and found[name] != shape
        ],
        what=where,
    )


def refuse_differences(
    *, missing: Iterable[str], unused: Iterable[str], mis_shaped: Iterable[str] = (), what: str
) -> None:
    """Raise one CheckpointError that lists every difference, if there is any."""
    groups = {"missing": sorted(missing), "unused": sorted(unused), "mis-shaped": list(mis_shaped)}
    found = [f"{len(names)} {kind} ({', '.join(names)})" for kind, names in groups.items() if names]
    if found:
        raise CheckpointError(
            f"{what}: weights do not fit: {'; '.join(found)}. Use the config.json that belongs to "
            "these weights, and all of their files."
        )
