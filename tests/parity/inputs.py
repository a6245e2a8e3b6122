"""Images and texts on their way to the model: pixels, prompt strings, token ids, to the byte."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from check import EXACT, FLOAT32, Check, Measure, error, mismatch, summary_error
from PIL import Image
from reference import Reference

from janusflow.processing.images import JanusFlowImageProcessor
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.processing.templates import (
    ASSISTANT,
    UNDERSTANDING_SYSTEM_PROMPT,
    USER,
    Message,
    build_chat_template,
)
from janusflow.processing.tokenizer import IMAGE_TAGS

CLIP_MEAN, CLIP_STD = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
"""What the release's class normalises with when no file says otherwise."""
VARIANTS: dict[str, dict[str, Any]] = {
    "pixel_values": {},
    "clipmean_pixel_values": {"image_mean": CLIP_MEAN, "image_std": CLIP_STD},
    "unnormalized": {"do_normalize": False},
}
TAG_SETS = {
    "processor_config_tags": IMAGE_TAGS,
    "class_default_tags": IMAGE_TAGS
    | {"image_start_tag": "<begin_of_image>", "image_end_tag": "<end_of_image>"},
}

TAGS_READ = "processor_config_tags"


def image_checks(reference: Reference) -> list[Check]:
    wanted = reference.tensors("image_processing")
    checks = []
    for name, facts in reference.meta["files"]["image_processing"]["images"].items():

        def check(quantity: str, measure: Measure, name: str = name) -> Check:
            return Check(
                group="images", quantity=f"{name}: {quantity}", tolerance=EXACT, measure=measure
            )

        checks += [
            check("image by the recipe", lambda n=name, f=facts: _source(reference, n, f)),
            check(
                "resized and padded bytes", lambda n=name, f=facts: _bytes(reference, n, f, wanted)
            ),
            check("pixel_values, whole", lambda n=name, f=facts: _whole(reference, n, f)),
            *[
                check(variant, lambda n=name, v=variant: _pixels(reference, n, v, wanted))
                for variant in VARIANTS
            ],
        ]
    return checks


def _source(reference: Reference, name: str, facts: dict[str, Any]) -> float:
    pixels = np.asarray(reference.image(name))
    return mismatch(hashlib.sha256(pixels.tobytes()).hexdigest(), facts["source_sha256"])


def _bytes(
    reference: Reference, name: str, facts: dict[str, Any], wanted: dict[str, torch.Tensor]
) -> float:
    square: Image.Image = _processor().square(reference.image(name))
    pixels = np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    return max(
        mismatch(digest, facts["uint8_sha256"]),
        error(torch.from_numpy(pixels), wanted[f"{name}.uint8"]),
    )


def _whole(reference: Reference, name: str, facts: dict[str, Any]) -> float:
    """Sums are only recorded to rounding; the crops below are exact."""
    pixels = _processor().preprocess(reference.image(name)).pixel_values
    return 0.0 if summary_error(pixels, facts["pixel_values"]) < FLOAT32 else float("inf")


def _pixels(
    reference: Reference, name: str, variant: str, wanted: dict[str, torch.Tensor]
) -> float:
    pixels = _processor(variant).preprocess(reference.image(name)).pixel_values
    return error(pixels[:, :, ::16, ::16], wanted[f"{name}.{variant}_every16"])


def _processor(variant: str = "pixel_values") -> JanusFlowImageProcessor:
    return JanusFlowImageProcessor(**VARIANTS[variant])


# ---- texts ----------------------------------------------------------------------------------


def text_checks(reference: Reference) -> list[Check]:
    recorded = reference.json("templates.json")

    def check(quantity: str, measure: Measure) -> Check:
        return Check(group="texts", quantity=quantity, tolerance=EXACT, measure=measure)

    @cache
    def processor(tags: str) -> JanusFlowProcessor:
        return _text_processor(reference, TAG_SETS[tags])

    return [
        check(
            "default system prompt",
            lambda: mismatch(UNDERSTANDING_SYSTEM_PROMPT, recorded["system_prompt_understanding"]),
        ),
        *[
            check(f"ids of the tags, {tags}", lambda t=tags: _tag_ids(processor(t), recorded, t))
            for tags in TAG_SETS
        ],
        *[
            check(f"{case}: formatted", lambda f=facts: _formatted(processor(TAGS_READ), f))
            for case, facts in recorded["understanding"].items()
        ],
        *[
            check(f"{case}: ids, {tags}", lambda f=facts, t=tags: _ids(processor(t), f, t))
            for case, facts in recorded["understanding"].items()
            for tags in TAG_SETS
        ],
        *[
            check(
                f"drawing prompt {index + 1}: ids, {tags}",
                lambda f=facts, t=tags: _drawing_ids(processor(t), f, t),
            )
            for index, facts in enumerate(recorded["generation"])
            for tags in TAG_SETS
        ],
        *_tiny_checks(reference, check),
    ]


def _text_processor(reference: Reference, tags: dict[str, str]) -> JanusFlowProcessor:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source, target in (
            ("tokenizer/tokenizer.json", "tokenizer.json"),
            ("official_processor_config.json", "processor_config.json"),
            ("official_preprocessor_config.json", "preprocessor_config.json"),
            ("official_special_tokens_map.json", "special_tokens_map.json"),
        ):
            shutil.copy(reference.folder / source, folder / target)
        loaded = JanusFlowProcessor.from_pretrained(folder)
        if tags == _tags(loaded):
            return loaded
        # The tags of the processor's file must not be in the way: start from the bare vocabulary.
        (folder / "processor_config.json").write_text("{}")
        return JanusFlowProcessor.from_pretrained(folder)


def _tags(processor: JanusFlowProcessor) -> dict[str, str]:
    return {key: getattr(processor, key) for key in IMAGE_TAGS}


def _tag_ids(processor: JanusFlowProcessor, recorded: dict[str, Any], tags: str) -> float:
    wanted = recorded["tag_ids"][tags]
    got = {
        **{
            key: [tag, processor.tokenizer.convert_tokens_to_ids(tag)]
            for key, tag in _tags(processor).items()
        },
        "pad_id": processor.pad_token_id,
        "bos": processor.bos_token_id,
        "eos": processor.eos_token_id,
        "len": len(processor.tokenizer),
    }
    return mismatch(got, wanted)


def _formatted(processor: JanusFlowProcessor, facts: dict[str, Any]) -> float:
    """Both templates, with the default system prompt and without one."""

    def text(template: str, **options: str) -> str:
        return processor.tokenizer.apply_chat_template(
            facts["conversation"],
            chat_template=build_chat_template(
                sft_format=template,
                system_prompt=processor.system_prompt,
                image_tag=processor.image_tag,
            ),
            tokenize=False,
            **options,
        )

    return max(
        max(
            mismatch(text(template), facts[template]),
            mismatch(text(template, system_prompt=""), facts[f"{template}_no_system"]),
        )
        for template in ("deepseek", "deepseek_old")
    )


def _ids(processor: JanusFlowProcessor, facts: dict[str, Any], tags: str) -> float:
    """The whole expanded sequence by its hash, its length and where images start and end."""
    expanded = facts[f"expanded.{tags}"]
    images = [Image.new("RGB", (32, 32))] * len(expanded["num_image_tokens"])
    batch = processor.conversations([facts["conversation"]], [images])
    ids = batch.input_ids[0]
    got = {
        "length": len(ids),
        "sha256_int64": hashlib.sha256(ids.numpy().astype(np.int64).tobytes()).hexdigest(),
        "start_positions": (ids == processor.image_start_token_id).nonzero()[:, 0].tolist(),
        "end_positions": (ids == processor.image_end_token_id).nonzero()[:, 0].tolist(),
    }
    return mismatch(got, {key: expanded[key] for key in got})


def _drawing_ids(processor: JanusFlowProcessor, facts: dict[str, Any], tags: str) -> float:
    """All but the last: the demo's and the read-me's prompts differ in that one, never read."""
    ids = processor.prompts([facts["prompt"]]).input_ids[0].tolist()
    return max(mismatch(ids, facts[f"{kind}.{tags}"][:-1]) for kind in ("ids_demo", "ids_readme"))


def _tiny_checks(reference: Reference, check: Callable[[str, Measure], Check]) -> list[Check]:
    """The small model's own token ids and masks, from its conversations and images."""
    wanted = reference.tensors("understanding")
    cases = reference.meta["files"]["understanding"]["cases"]

    @cache
    def processor() -> JanusFlowProcessor:
        return tiny_processor(reference)

    def batch(case: str) -> float:
        facts = cases[case]
        rows = [[Message(role=USER, content=_question(text))] for text in facts["sft"]]
        images = [[reference.image(name) for name in names] for names in facts["images"]]
        got = processor().conversations(
            [[*row, Message(role=ASSISTANT, content="")] for row in rows], images
        )
        visible = wanted[f"{case}.attention_mask"].bool()
        return max(
            error(got.attention_mask, wanted[f"{case}.attention_mask"]),
            # Under the mask any pad serves; the set has the pad tag's id.
            error(got.input_ids[visible], wanted[f"{case}.input_ids"][visible]),
        )

    def prompt() -> float:
        text = reference.meta["texts"]["generation"]
        ids = processor().prompts([text]).input_ids[0]
        return error(ids, reference.tensors("velocity")["prompt_ids"][:-1])

    return [
        *[check(f"small model, {case}: ids and mask", lambda c=case: batch(c)) for case in cases],
        check("small model, drawing prompt: ids", prompt),
    ]


def tiny_processor(reference: Reference) -> JanusFlowProcessor:
    """The small model's processor: its tokenizer, its image size, no system prompt."""
    params = reference.meta["small_config"]["vision_und_enc_config"]["params"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(reference.folder / "tiny_tokenizer.json", folder / "tokenizer.json")
        (folder / "processor_config.json").write_text("{}")
        (folder / "preprocessor_config.json").write_text("{}")
        loaded = JanusFlowProcessor.from_pretrained(folder)
    mask = reference.tensors("understanding")["one.images_emb_mask"]
    return JanusFlowProcessor(
        JanusFlowImageProcessor(image_size=params["image_size"]),
        loaded.tokenizer,
        **_tags(loaded),
        num_image_tokens=mask.shape[-1] - 1,
        system_prompt="",
    )


def _question(formatted: str) -> str:
    """The user's words inside a formatted conversation without system prompt."""
    return formatted.removeprefix(f"{USER}: ").removesuffix(f"\n\n{ASSISTANT}:")
