"""The understanding transform equals the release's to the byte; the drawing side inverts."""

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from janusflow.config.errors import ConfigError
from janusflow.processing.images import (
    JanusFlowImageProcessor,
    crop_for_generation,
    to_images,
    to_latent_range,
)

CLIP_MEAN, CLIP_STD = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)


@pytest.fixture(scope="module")
def reference_images(reference: Path) -> dict[str, Image.Image]:
    """The reference's images by name, made by its own recipe."""
    spec = importlib.util.spec_from_file_location("reference_recipe", reference / "recipe.py")
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    seed = json.loads((reference / "meta.json").read_text())["seed"]
    return {
        name: Image.fromarray(recipe.image(name, width, height, seed))
        for name, width, height in recipe.IMAGES
    }


@pytest.fixture(scope="module")
def expected(reference: Path) -> dict[str, Tensor]:
    return load_file(reference / "image_processing.safetensors")


def variant(name: str) -> JanusFlowImageProcessor:
    if name == "clipmean_pixel_values":
        return JanusFlowImageProcessor(image_mean=CLIP_MEAN, image_std=CLIP_STD)
    return JanusFlowImageProcessor(do_normalize=name != "unnormalized")


def test_padded_bytes_equal_the_references(
    reference: Path, reference_images: dict[str, Image.Image], expected: dict[str, Tensor]
):
    told = json.loads((reference / "meta.json").read_text())["files"]["image_processing"]["images"]
    assert set(told) == set(reference_images)
    processor = JanusFlowImageProcessor()
    for name, image in reference_images.items():
        square = np.asarray(processor.square(image)).transpose(2, 0, 1)
        assert np.array_equal(square, expected[f"{name}.uint8"].numpy()), name
        digest = hashlib.sha256(np.ascontiguousarray(square).tobytes()).hexdigest()
        assert digest == told[name]["uint8_sha256"]


@pytest.mark.parametrize("which", ["pixel_values", "clipmean_pixel_values", "unnormalized"])
def test_pixel_values_equal_the_references_bit_by_bit(
    reference_images: dict[str, Image.Image], expected: dict[str, Tensor], which: str
):
    names = sorted(reference_images)
    pixel_values = variant(which)([reference_images[name] for name in names]).pixel_values
    for row, name in enumerate(names):
        assert torch.equal(pixel_values[row, :, ::16, ::16], expected[f"{name}.{which}_every16"][0])


def test_a_square_of_the_right_size_is_not_resampled():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    processor = JanusFlowImageProcessor(image_size=32, do_normalize=False)
    values = processor(Image.fromarray(pixels)).pixel_values[0].permute(1, 2, 0)
    assert torch.equal((values * 255).round().to(torch.uint8), torch.from_numpy(pixels))


@pytest.mark.parametrize("size", [(1, 1), (1000, 1), (1, 1000), (33, 32), (7, 5)])
def test_any_image_fills_the_same_square(size: tuple[int, int]):
    processor = JanusFlowImageProcessor(image_size=48)
    assert processor([Image.new("L", size)] * 2).pixel_values.shape == (2, 3, 48, 48)


def test_no_images_give_no_rows():
    assert JanusFlowImageProcessor(image_size=48)([]).pixel_values.shape == (0, 3, 48, 48)


def test_transformers_users_get_a_batch_feature():
    processor = JanusFlowImageProcessor(image_size=48)
    image = Image.new("RGB", (9, 5), "red")
    called = processor(images=[image], return_tensors="pt")
    assert torch.equal(called["pixel_values"], processor.preprocess([image]).pixel_values)
    assert isinstance(processor(image, return_tensors="np").pixel_values, np.ndarray)
    plain = processor(image, do_normalize=False).pixel_values
    assert torch.equal(
        plain, JanusFlowImageProcessor(image_size=48, do_normalize=False)(image)["pixel_values"]
    )
    assert processor(image, size={"height": 32, "width": 32}).pixel_values.shape[-2:] == (32, 32)
    assert processor(image, do_rescale=False, do_normalize=False).pixel_values.max() == 255
    assert processor(image, do_resize=False).pixel_values.shape[-2:] == (9, 9)
    assert processor(image, do_pad=False).pixel_values.shape[-2:] == (26, 48)
    with pytest.raises(ConfigError, match="'height': 32, 'width': 48"):
        processor(image, size={"height": 32, "width": 48})


def test_the_releases_file_survives_a_round_trip(reference: Path, tmp_path: Path):
    official = json.loads((reference / "official_preprocessor_config.json").read_text())
    official["an_unknown_key"] = {"kept": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(official))

    JanusFlowImageProcessor.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")

    again = json.loads((tmp_path / "again" / "preprocessor_config.json").read_text())
    kept = ("an_unknown_key", "do_normalize", "image_mean", "image_std", "min_size")
    assert {key: again[key] for key in kept} == {key: official[key] for key in kept}
    assert again["size"] == {"height": 384, "width": 384}
    reloaded = JanusFlowImageProcessor.from_pretrained(tmp_path / "again")
    assert json.loads(reloaded.to_json_string()) == again


def test_contradicting_settings_are_refused():
    with pytest.raises(ConfigError, match="min_size"):
        JanusFlowImageProcessor(image_size=8)
    with pytest.raises(ConfigError, match="image_std=None"):
        JanusFlowImageProcessor(image_std=None)


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (10, 33), (32, 32), (5, 1000)])
def test_a_crop_spans_the_shorter_side_and_keeps_the_proportions(size: tuple[int, int]):
    """On a ramp along the longer side, the crop's ramp covers shorter/longer of the range."""
    ramp = np.linspace(0, 255, max(size))[:, None] * np.ones(min(size))
    ramp = ramp if size[1] == max(size) else ramp.T
    image = Image.fromarray(ramp.astype(np.uint8)).convert("RGB")
    cropped = np.asarray(crop_for_generation(image, size=32), dtype=float)[..., 0]
    along = cropped.mean(axis=1 if size[1] == max(size) else 0)
    assert cropped.shape == (32, 32)
    assert abs((along[-1] - along[0]) - 255 * min(size) / max(size)) < 20
    assert abs(along.mean() - 127.5) < 4, "without rng the centre is taken"


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (5, 300), (300, 5), (2, 90)])
@pytest.mark.parametrize("place", [0.0, 0.3, 1.0])
def test_a_crop_is_what_resizing_all_of_the_image_would_give(size: tuple[int, int], place: float):
    """To the byte; of a long image to a level, as Pillow rounds between its two passes."""
    wave = 127 + 120 * np.sin(np.arange(size[0] * size[1] * 3) / 7)
    image = Image.fromarray(wave.astype(np.uint8).reshape(size[1], size[0], 3))
    whole = image.resize(
        tuple(max(32, round(side * 32 / min(size))) for side in size), Image.Resampling.BICUBIC
    )
    left, top = (int(place * (side - 32)) for side in whole.size)
    expected = np.asarray(whole.crop((left, top, left + 32, top + 32)), dtype=int)
    got = np.asarray(crop_for_generation(image, size=32, place=place), dtype=int)
    is_long = max(size) > 8 * min(size)
    assert np.abs(got - expected).mean() <= (1 if is_long else 0)


@pytest.mark.parametrize("size", [(1, 200_000), (200_000, 1)])
def test_a_long_image_is_never_resized_as_a_whole(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    made: list[int] = []
    resize = Image.Image.resize

    def counted(self: Image.Image, to: tuple[int, int], *args: Any, **kwargs: Any) -> Image.Image:
        made.append(to[0] * to[1])
        return resize(self, to, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "resize", counted)
    assert crop_for_generation(Image.new("RGB", size), size=64).size == (64, 64)
    JanusFlowImageProcessor(image_size=64).square(Image.new("RGB", size))
    assert max(made) < 10 * 64 * 64


def test_random_crops_follow_their_generator_and_reach_both_ends():
    image = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (16, 1))).convert("RGB")

    def left_edges(seed: int) -> list[int]:
        rng = np.random.default_rng(seed)
        crops = (crop_for_generation(image, size=16, rng=rng) for _ in range(400))
        return [crop.getpixel((0, 0))[0] // 4 for crop in crops]

    assert left_edges(1) == left_edges(1) != left_edges(2)
    assert (min(left_edges(1)), max(left_edges(1))) == (0, 48)


def test_images_survive_the_latent_range():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)
    images = [Image.fromarray(one) for one in pixels]
    tensors = torch.stack([to_latent_range(image) for image in images])
    assert tensors.min() >= -1
    assert tensors.max() <= 1
    assert [image.tobytes() for image in to_images(tensors)] == [
        image.tobytes() for image in images
    ]


def test_decoded_values_are_clipped_and_rounded():
    levels = torch.tensor([-7.0, -1.0, 0.6 / 127.5 - 1, 0.4 / 127.5 - 1, 1.0, 7.0])
    image = to_images(levels[None, None, None].expand(1, 3, 1, 6))[0]
    assert [image.getpixel((x, 0))[0] for x in range(6)] == [0, 0, 1, 0, 255, 255]


@pytest.mark.parametrize("which", ["pixel_values", "clipmean_pixel_values", "unnormalized"])
def test_what_the_tower_gets_goes_back_to_the_bytes_it_was(which: str):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    processor, image = variant(which), Image.fromarray(pixels)
    back = processor.to_image(processor(image).pixel_values[0])
    assert np.array_equal(np.asarray(back), np.asarray(processor.square(image)))
