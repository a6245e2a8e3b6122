"""The authors' side without their code: their modules' roles are played by ours.

What the real code computes is compared in tests/parity and by `janusflow bench --official`; here
it is whether this side's own loop does what a drawing is.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from bench_sides import FakeSide
from PIL import Image
from release_format import format_conversation
from torch import Tensor

from janusflow.benchmark import torchvision_stand_in
from janusflow.benchmark.cases import Request, Side
from janusflow.benchmark.official import Official, TokenClock
from janusflow.benchmark.ours import Ours
from janusflow.benchmark.watch import Stopwatch
from janusflow.inference.pipeline import JanusFlow
from janusflow.processing.templates import Message


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
def sides(request_of_tiny: Request) -> tuple[Ours, Official]:
    ours, theirs = Ours(), Official.__new__(Official)
    ours.load(request_of_tiny, Stopwatch("cpu"))
    jf = ours.jf
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
    sides: tuple[Ours, Official], request_of_tiny: Request, batch: int
):
    request = Request(**{**vars(request_of_tiny), "batch": batch})
    ours, theirs = (side.velocity(request, Stopwatch("cpu"))["velocity"] for side in sides)
    assert np.abs(ours - theirs).max() < 1e-5


def test_a_picture_is_the_same_to_a_level(sides: tuple[Ours, Official], request_of_tiny: Request):
    ours, theirs = (
        side.picture(request_of_tiny, Stopwatch("cpu"))["levels"].astype(int) for side in sides
    )
    assert ours.std() > 1
    assert np.abs(ours - theirs).max() <= 1


def test_an_answer_has_a_lap_a_token(sides: tuple[Ours, Official], request_of_tiny: Request):
    watch = Stopwatch("cpu")
    found = sides[0].ask(request_of_tiny, watch)["token_ids"]
    assert len(watch.laps) == len(found) == request_of_tiny.new_tokens


def test_the_prompt_is_no_token():
    watch = Stopwatch("cpu")
    with watch:
        clock = TokenClock(watch)
        for ids in ([], [5], [6]):
            clock.put(torch.tensor(ids))
        clock.end()
    assert len(watch.laps) == 2


def test_all_sides_are_sides():
    assert isinstance(FakeSide(), Side)
    assert isinstance(Ours(), Side)
    assert issubclass(Official, Side)


def test_the_stand_in_resizes_and_lets_everything_be_imported(monkeypatch: pytest.MonkeyPatch):
    for name in torchvision_stand_in.MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    try:
        assert torchvision_stand_in.install()
        from torchvision.ops.misc import FrozenBatchNorm2d  # pyright: ignore
        from torchvision.transforms import functional  # pyright: ignore

        assert isinstance(FrozenBatchNorm2d, type)
        mode, picture = functional.InterpolationMode.BICUBIC, Image.new("RGB", (8, 4))
        assert functional.resize(picture, [4, 8], mode, antialias=True) is picture
        assert functional.resize(picture, [2, 6], mode).size == (6, 2)
    finally:
        for name in torchvision_stand_in.MODULES:
            sys.modules.pop(name, None)


def test_a_real_torchvision_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "torchvision.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not torchvision_stand_in.install()
    assert "torchvision.transforms" not in sys.modules
