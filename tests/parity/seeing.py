"""The understanding half: the tower and its variants, then questions about images."""

import re
from collections.abc import Callable
from copy import copy
from functools import cache, partial
from typing import Any, NamedTuple, cast

import torch
from check import EXACT, FLOAT32, Check, Measure, error, mismatch, summary_error
from reference import Reference
from torch import Tensor
from transformers import SiglipVisionModel

from janusflow.interop.conversion import official_shapes, shapes_of, to_ours
from janusflow.interop.release_config import config_from_official
from janusflow.model.attention import NO_IMAGE, number_images
from janusflow.processing.images import JanusFlowImageProcessor

TOWER = "understanding_encoder."
NUM_NEW_TOKENS = 8


# ---- the tower ------------------------------------------------------------------------------


def tower_checks(reference: Reference) -> list[Check]:
    wanted, notes = reference.tensors("siglip"), reference.meta["files"]["siglip"]

    def check(quantity: str, measure: Measure, tolerance: float = FLOAT32) -> Check:
        return Check(group="siglip", quantity=quantity, tolerance=tolerance, measure=measure)

    @cache
    def images_384() -> Tensor:
        return reference.array("siglip_384", tuple(notes["image_384_check"]["shape"]))

    @cache
    def run(size: int, select_layer: int) -> list[Tensor]:
        tower = _tower(reference, image_size=size, select_layer=select_layer)
        return _features(tower, wanted["image_96"] if size == 96 else images_384())

    return [
        check("patch_embed_96", lambda: error(run(96, 2)[0][:1], wanted["patch_embed_96_row0"])),
        check("block0_96", lambda: error(run(96, 2)[1][:1], wanted["block0_96_row0"])),
        check(
            "block1_96, before the final norm",
            lambda: error(run(96, 2)[2][:1], wanted["block1_before_final_norm_96_row0"]),
        ),
        *[
            check(name, lambda name=name: error(_like(name, run), wanted[name]))
            for name in sorted(wanted)
            if name.startswith("tower_")
        ],
        check("tower_384, whole", lambda: summary_error(run(384, 2)[-1], notes["tower_384_full"])),
        check(
            "image_384 by the recipe",
            lambda: summary_error(images_384(), notes["image_384_check"]),
        ),
        check(
            "aligned_96",
            lambda: error(
                _aligned(reference, wanted["image_96"])[:1, :, ::8],
                wanted["aligned_96_row0_every8"],
            ),
        ),
    ]


def _like(name: str, run: Any) -> Tensor:
    """The crop of the tower's output that a name such as tower_96_select2 stands for."""
    size, minus, layer = re.match(r"tower_(\d+)_select_?(minus)?(\d+)", name).groups()
    output = run(int(size), -int(layer) if minus else int(layer))[-1]
    output = output[:, ::8] if "tokens_every8" in name else output
    return output[:1] if "row0" in name else output


def _tower(reference: Reference, **parameters: Any) -> SiglipVisionModel:
    """The tower alone, built as its release parameters say, with the recipe's weights."""
    config = config_from_official(
        reference.small_settings(**parameters), token_ids=reference.tiny_token_ids
    )
    tower = SiglipVisionModel(config.vision_config).eval()
    shapes = {TOWER + name: shape for name, shape in shapes_of(tower).items()}
    official = {
        name: reference.weight(name, shape) for name, shape in official_shapes(shapes).items()
    }
    ours = to_ours(official)
    tower.load_state_dict({name.removeprefix(TOWER): value for name, value in ours.items()})
    return tower


@torch.no_grad()
def _features(tower: SiglipVisionModel, pixel_values: Tensor) -> list[Tensor]:
    """Patches before their positions, the output of every block, and that of the final norm."""
    patches = tower.embeddings.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
    output = tower(pixel_values, output_hidden_states=True)
    return [patches, *output.hidden_states[1:], output.last_hidden_state]


@torch.no_grad()
def _aligned(reference: Reference, pixel_values: Tensor) -> Tensor:
    """Without the begin-of-understanding embedding, which the release adds later."""
    return reference.small.embed_images(reference.small.image_features(pixel_values))[:, 1:]


# ---- questions ------------------------------------------------------------------------------


class Answered(NamedTuple):
    embeds: Tensor
    logits: Tensor
    greedy_ids: Tensor
    greedy_logits: Tensor


def question_checks(reference: Reference) -> list[Check]:
    cases = reference.meta["files"]["understanding"]["cases"]
    return [
        check for name, facts in cases.items() for check in _case_checks(reference, name, facts)
    ]


def _case_checks(reference: Reference, case: str, facts: dict[str, Any]) -> list[Check]:
    @cache
    def pixels() -> Tensor:
        return _pixel_values(reference, facts)

    return [
        *_image_checks(reference, case, facts, pixels),
        *_answer_checks(reference, case, facts, pixels),
    ]


def _case_check(case: str, quantity: str, measure: Measure, tolerance: float = FLOAT32) -> Check:
    return Check(
        group="understanding",
        quantity=f"{case}: {quantity}",
        tolerance=tolerance,
        measure=measure,
    )


def _image_checks(
    reference: Reference, case: str, facts: dict[str, Any], pixels: Callable[[], Tensor]
) -> list[Check]:
    wanted, check = reference.tensors("understanding"), partial(_case_check, case)
    ids = wanted[f"{case}.input_ids"]
    looking_ahead = copy(reference.small.config)
    looking_ahead.image_attention = "bidirectional"  # else its images are not numbered
    is_image = cast(Tensor, number_images(ids, looking_ahead)) != NO_IMAGE
    # Of a batch only the second row's images are recorded: the first row's are another case's.
    recorded = {f"{case}.pixel_values": slice(None), f"{case}.pixel_values_row1": [1]}
    return [
        check(
            "image positions",
            lambda: error(is_image, wanted[f"{case}.images_seq_mask"]),
            EXACT,
        ),
        check(
            "real images",
            lambda: error(_is_real(facts, wanted), wanted[f"{case}.images_emb_mask"]),
            EXACT,
        ),
        check("pixel_values, whole", lambda: summary_error(pixels(), facts["pixel_values"])),
        *[
            check(
                name.partition(".")[2],
                lambda name=name, rows=rows: error(pixels()[rows], wanted[name]),
                EXACT,
            )
            for name, rows in recorded.items()
            if name in wanted
        ],
    ]


def _answer_checks(
    reference: Reference, case: str, facts: dict[str, Any], pixels: Callable[[], Tensor]
) -> list[Check]:
    wanted, check = reference.tensors("understanding"), partial(_case_check, case)
    ids, mask = wanted[f"{case}.input_ids"], wanted[f"{case}.attention_mask"]

    @cache
    def answered() -> Answered:
        return _answer(reference, ids, mask, _only_real(pixels(), facts))

    def logits_error() -> float:
        visible = mask[..., None].bool()
        return error(
            answered().logits.where(visible, 0.0), wanted[f"{case}.logits"].where(visible, 0.0)
        )

    return [
        check(
            "inputs_embeds",
            lambda: error(answered().embeds[..., ::8], wanted[f"{case}.inputs_embeds_every8"]),
        ),
        check(
            "inputs_embeds, whole", lambda: summary_error(answered().embeds, facts["inputs_embeds"])
        ),
        check("logits", logits_error),
        check(
            "greedy ids",
            lambda: mismatch(answered().greedy_ids.tolist(), wanted[f"{case}.greedy_ids"].tolist()),
            EXACT,
        ),
        check(
            "greedy step logits",
            lambda: error(answered().greedy_logits, wanted[f"{case}.greedy_step_logits"]),
        ),
    ]


def _pixel_values(reference: Reference, facts: dict[str, Any]) -> Tensor:
    """[rows, images of the fullest row, 3, y, x]; missing ones are zeros, as the release's."""
    size = reference.meta["small_config"]["vision_und_enc_config"]["params"]["image_size"]
    processor = JanusFlowImageProcessor(image_size=size)
    pixels = torch.zeros(*facts["pixel_values"]["shape"])
    for row, names in enumerate(facts["images"]):
        for index, name in enumerate(names):
            pixels[row, index] = processor.preprocess(reference.image(name)).pixel_values[0]
    return pixels


def _only_real(pixels: Tensor, facts: dict[str, Any]) -> Tensor | None:
    real = [pixels[row, : len(names)] for row, names in enumerate(facts["images"]) if names]
    return torch.cat(real) if real else None


def _is_real(facts: dict[str, Any], wanted: dict[str, Tensor]) -> Tensor:
    rows, fullest, num_embeddings = (
        len(facts["images"]),
        facts["pixel_values"]["shape"][1],
        wanted["one.images_emb_mask"].shape[-1],
    )
    mask = torch.zeros(rows, fullest, num_embeddings, dtype=torch.bool)
    for row, names in enumerate(facts["images"]):
        mask[row, : len(names)] = True
    return mask


@torch.no_grad()
def _answer(
    reference: Reference, ids: Tensor, mask: Tensor, pixel_values: Tensor | None
) -> Answered:
    model = reference.small
    embeds = model.embed_conversation(ids, pixel_values)
    tokens = reference.tiny_token_ids
    greedy = model.llm.generate(
        inputs_embeds=embeds,
        attention_mask=mask,
        bos_token_id=tokens["bos_token_id"],
        eos_token_id=tokens["eos_token_id"],
        pad_token_id=tokens["eos_token_id"],  # the release passes EOS here
        do_sample=False,
        max_new_tokens=NUM_NEW_TOKENS,
        return_dict_in_generate=True,
        output_logits=True,
    )
    return Answered(
        embeds,
        model(inputs_embeds=embeds, attention_mask=mask).logits,
        greedy.sequences,
        torch.stack(greedy.logits, dim=1),
    )
