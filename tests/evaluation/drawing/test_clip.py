"""The CLIP score: the same as torchmetrics computes on a tiny CLIP with random weights."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from image_networks import save_tiny_clip
from PIL import Image
from torchmetrics.functional.multimodal.clip_score import clip_score
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

from janusflow.config.errors import CheckpointError
from janusflow.evaluation.drawing.clip import ClipScorer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    save_tiny_clip(folder)
    return folder


def speckled(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8))


def test_scores_are_those_of_torchmetrics(folder: Path):
    model = CLIPModel.from_pretrained(folder).eval()
    # torchmetrics wants the bare tensors that older versions of transformers gave.
    bare = SimpleNamespace(
        to=lambda _: bare,
        config=model.config,
        get_image_features=lambda x: model.get_image_features(x).pooler_output,
        get_text_features=lambda *x: model.get_text_features(*x).pooler_output,
    )
    processor = CLIPProcessor(
        image_processor=CLIPImageProcessorPil.from_pretrained(folder),
        tokenizer=CLIPTokenizer.from_pretrained(folder),
    )
    ours = ClipScorer(str(folder))
    seen = []
    for seed, prompt in enumerate(["a cat", "dogs", "z"]):
        image = speckled(seed)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        wanted = clip_score(pixels, prompt, lambda: (bare, processor)).detach()
        seen.append(ours(image, prompt))
        assert seen[-1] == pytest.approx(float(wanted), rel=1e-4)
    assert len(set(seen)) == 3


def test_a_prompt_is_read_as_far_as_clip_reads(folder: Path):
    scorer = ClipScorer(str(folder))
    assert scorer(speckled(0), "abcdefgh") == scorer(speckled(0), "abcdefxyz" * 20)
    assert scorer(speckled(0), "abcdefgh") != scorer(speckled(0), "abcdexgh")


def test_a_score_is_at_least_0(folder: Path):
    scorer = ClipScorer(str(folder))
    with torch.no_grad():
        scorer._model.text_projection.weight.neg_()
    assert scorer(speckled(0), "a cat") == 0.0


def test_a_place_without_a_clip_is_one_line(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"--clip .*: got no CLIP there") as refused:
        ClipScorer(str(tmp_path))
    assert "\n" not in str(refused.value)
