"""Synthetic weights: the same every time, in the release's layout, whole or not at all."""

from pathlib import Path

import pytest
import torch
from bench_sides import TINY

from janusflow.benchmark import weights
from janusflow.benchmark.weights import SIZES, Facts, SyntheticWeights, ensure_folder, settings_of
from janusflow.inference.loading import load
from janusflow.interop.release import release_config
from janusflow.interop.release_layout import release_settings


def test_a_weight_depends_on_its_name_and_shape_alone():
    one = SyntheticWeights({"a.weight": (3, 2), "b.weight": (3, 2)})
    other = SyntheticWeights({"b.weight": (3, 2)})
    assert torch.equal(one.read("b.weight"), other.read("b.weight"))
    assert not torch.equal(one.read("a.weight"), one.read("b.weight"))


def test_scales_of_norms_are_near_one_and_matrices_small():
    shapes = {"x.norm1.weight": (4000,), "x.fc1.weight": (4000,)}
    made = SyntheticWeights(shapes)
    assert made.read("x.norm1.weight").mean() == pytest.approx(1, abs=0.01)
    assert made.read("x.fc1.weight").std() == pytest.approx(0.02, rel=0.05)


def test_the_full_size_is_the_release():
    assert settings_of(SIZES["full"]) == release_settings(release_config())


def test_the_scaled_size_has_the_widths_of_the_release():
    scaled, full = (settings_of(SIZES[name])["language_config"] for name in ("scaled", "full"))
    differing = {key for key in full if full[key] != scaled[key]}
    assert differing == {"num_hidden_layers", "vocab_size"}


def test_the_folder_loads_and_the_prompt_has_the_length_it_says(folder: Path, facts: Facts):
    jf = load(folder, device="cpu")
    assert jf.image_size == TINY.picture_size
    assert jf.processor.prompts([facts.prompt]).input_ids.shape == (1, facts.prompt_tokens)
    assert TINY.prompt_tokens - 2 <= facts.prompt_tokens <= TINY.prompt_tokens


def test_a_folder_that_is_there_is_not_written_again(
    folder: Path, facts: Facts, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(weights, "write_folder", lambda *_: pytest.fail("written again"))
    assert ensure_folder(folder, TINY) == facts


def test_what_cannot_be_finished_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(unfinished: Path, size: object) -> None:
        (unfinished / "half").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, "write_folder", stop)
    with pytest.raises(KeyboardInterrupt):
        ensure_folder(tmp_path / "new", TINY)
    assert list(tmp_path.iterdir()) == []
