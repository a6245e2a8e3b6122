"""The authors' side without their code: their modules' roles are played by ours.

What the real code computes is compared in tests/parity and by compare_speed.py; here it is
whether this side's own loop does what a drawing is.
"""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import official_side
import pytest
import torch
from cases import OurSide
from official_side import OfficialModel, TokenClock, stand_in_for_torchvision
from PIL import Image
from release_format import format_conversation
from tiny_model import tiny_janusflow
from torch import Tensor

from janusflow.inference.pipeline import JanusFlow
from janusflow.inference.speed import SpeedSettings, Stopwatch
from janusflow.processing.templates import Message

SETTINGS = SpeedSettings(prompt="a red circle", steps=2)


def encoder_of(jf: JanusFlow) -> Any:
    def encode(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        found = jf.model.generation_encoder(x, t / 1000)
        return found.features, found.time_embed, [found.features]

    return encode


def decoder_of(jf: JanusFlow) -> Any:
    def decode(features: Tensor, skips: list[Tensor], time_token: Tensor) -> Tensor:
        return jf.model.generation_decoder(features, skips.pop(), time_token)

    return decode


class TheirTokenizer:
    """The one method that drawing needs."""

    def __init__(self, jf: JanusFlow) -> None:
        self.jf = jf

    def encode(self, text: str) -> list[int]:
        processor = self.jf.processor
        return [
            processor.bos_token_id,
            *processor.tokenizer.encode(text, add_special_tokens=False),
        ]


def template(conversations: list[Message], sft_format: str, system_prompt: str) -> str:
    return format_conversation(conversations, sft_format=sft_format, system_prompt=system_prompt)


@pytest.fixture(scope="module")
def sides() -> tuple[OurSide, OfficialModel]:
    ours, theirs = OurSide(), OfficialModel.__new__(OfficialModel)
    jf = ours.jf = tiny_janusflow()
    model, processor = jf.model, jf.processor
    theirs.model = SimpleNamespace(
        device=model.device,
        dtype=model.dtype,
        vision_gen_enc_model=encoder_of(jf),
        vision_gen_enc_aligner=model.generation_encoder_aligner,
        vision_gen_dec_model=decoder_of(jf),
        vision_gen_dec_aligner=model.generation_decoder_aligner,
        vision_gen_dec_aligner_norm=model.generation_decoder_norm,
        language_model=model.llm,
    )
    theirs.processor = SimpleNamespace(
        apply_sft_template_for_multi_turn_prompts=template,
        sft_format=processor.sft_format,
        image_start_tag=processor.image_start_tag,
        image_processor=SimpleNamespace(image_size=jf.image_size),
        pad_id=processor.pad_token_id,
    )
    theirs.tokenizer, theirs.vae = TheirTokenizer(jf), jf.vae
    return ours, theirs


@pytest.mark.parametrize("batch", [1, 2])
def test_a_velocity_is_the_same_with_the_prompt_read_again(
    sides: tuple[OurSide, OfficialModel], monkeypatch: pytest.MonkeyPatch, batch: int
):
    factor = 2 ** (len(sides[0].jf.vae.config["block_out_channels"]) - 1)
    monkeypatch.setattr(official_side, "VAE_FACTOR", factor)
    settings = replace(SETTINGS, batch=batch)
    ours, theirs = (side.velocity(settings, Stopwatch("cpu")) for side in sides)
    assert ours.std() > 0.1
    assert np.abs(ours - theirs).max() < 1e-5


def test_an_image_is_the_same_to_a_level(
    sides: tuple[OurSide, OfficialModel], monkeypatch: pytest.MonkeyPatch
):
    factor = 2 ** (len(sides[0].jf.vae.config["block_out_channels"]) - 1)
    monkeypatch.setattr(official_side, "VAE_FACTOR", factor)
    ours, theirs = (side.image(SETTINGS, Stopwatch("cpu")).astype(int) for side in sides)
    assert ours.std() > 1
    assert np.abs(ours - theirs).max() <= 1


def test_the_prompt_is_no_token():
    with Stopwatch("cpu") as watch:
        clock = TokenClock(watch)
        for ids in ([], [5], [6]):
            clock.put(torch.tensor(ids))
        clock.end()
    assert len(watch.laps) == 2


def test_the_stand_in_resizes_and_lets_everything_be_imported(monkeypatch: pytest.MonkeyPatch):
    for name in official_side.TORCHVISION:
        monkeypatch.delitem(sys.modules, name, raising=False)
    try:
        assert stand_in_for_torchvision()
        from torchvision.ops.misc import FrozenBatchNorm2d  # pyright: ignore
        from torchvision.transforms import functional  # pyright: ignore

        assert isinstance(FrozenBatchNorm2d, type)
        mode, image = functional.InterpolationMode.BICUBIC, Image.new("RGB", (8, 4))
        assert functional.resize(image, [4, 8], mode, antialias=True) is image
        assert functional.resize(image, [2, 6], mode).size == (6, 2)
    finally:
        for name in official_side.TORCHVISION:
            sys.modules.pop(name, None)


def test_a_real_torchvision_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "torchvision.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not stand_in_for_torchvision()
    assert "torchvision.transforms" not in sys.modules
