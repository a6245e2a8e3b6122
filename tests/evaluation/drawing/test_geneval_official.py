"""GenEval's own judge on stand-ins for its packages: which device its networks and inputs go to."""

import sys
from math import nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from janusflow.config.errors import NotFiniteError
from janusflow.evaluation.drawing.geneval_official import DETECTOR, NAMES, OfficialJudge
from janusflow.evaluation.drawing.judges import Detection, own_device

FEATURES = {"red": [1.0, 0.0], "blue": [0.0, 1.0]}


class Clip(nn.Module):
    """Its weights are on the meta device; it remembers where its inputs are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, device="meta"))
        self.shown: list[str] = []

    def encode_image(self, crops: Tensor) -> Tensor:
        self.shown.append(crops.device.type)
        return torch.tensor([FEATURES["blue"] for _ in crops])

    def encode_text(self, texts: Tensor) -> Tensor:
        self.shown.append(texts.device.type)
        return torch.tensor([FEATURES["blue" if self.colour == "blue" else "red"] for _ in texts])


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Stand-ins for mmdet and open_clip, and what they were asked for."""
    asked: dict[str, Any] = {"clip": Clip()}

    def make_clip(*_: str, pretrained: str, device: str) -> tuple[Clip, None, Any]:
        asked["clip device"] = device
        return asked["clip"], None, lambda crop: torch.zeros(3, 4, 4)

    def make_detector(*_: str, device: str) -> str:
        asked["detector device"] = device
        return "detector"

    def tokenize(texts: list[str]) -> Tensor:
        asked["clip"].colour = texts[0].split()[4]
        return torch.zeros(len(texts), 2)

    def detect(_: str, pixels: np.ndarray) -> tuple[list[Any], list[Any]]:
        height, width, _channels = pixels.shape
        box = np.array([[0.0, 0.0, width, height, 0.9]])
        return [box], [[np.ones((height, width))]]

    apis = SimpleNamespace(init_detector=make_detector, inference_detector=detect)
    clips = SimpleNamespace(create_model_and_transforms=make_clip, get_tokenizer=lambda _: tokenize)
    monkeypatch.setitem(sys.modules, "mmdet", SimpleNamespace(apis=apis))
    monkeypatch.setitem(sys.modules, "mmdet.apis", apis)
    monkeypatch.setitem(sys.modules, "open_clip", clips)
    for name in (f"{DETECTOR}.py", f"{DETECTOR}.pth", NAMES):
        (tmp_path / name).write_text("dog", encoding="utf-8")
    return asked


def test_both_networks_are_made_on_this_processs_own_gpu(
    packages: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert own_device() == torch.device("cuda", 3)
    OfficialJudge(str(tmp_path))
    assert packages["detector device"] == packages["clip device"] == "cuda:3"


def test_crops_and_words_go_where_clips_weights_are(packages: dict[str, Any], tmp_path: Path):
    judge = OfficialJudge(str(tmp_path))
    image = Image.new("RGB", (8, 6), "blue")
    found = judge.detect(image)
    assert {name: len(objects) for name, objects in found.items()} == {"dog": 1}
    assert judge.colours(image, found["dog"], "dog") == ["blue"]
    assert set(packages["clip"].shown) == {"meta"}
    assert judge.colours(image, [Detection((0, 0, 4, 4), 0.5)], "dog") == ["blue"]


def test_likeness_that_is_not_finite_is_no_colour(
    packages: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    judge = OfficialJudge(str(tmp_path))
    monkeypatch.setattr(packages["clip"], "encode_image", lambda x: torch.full((len(x), 2), nan))
    with pytest.raises(NotFiniteError, match="likeness of dog to colours is not finite"):
        judge.colours(Image.new("RGB", (4, 4)), [Detection((0, 0, 4, 4), 0.5)], "dog")
