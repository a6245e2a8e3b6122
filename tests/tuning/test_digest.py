"""Claims about the digest of a base: the same however it was loaded, another for another base."""

from pathlib import Path

import pytest
import torch
from adapter_folders import write_adapter
from release_folder import write_release_folder
from tiny_model import save_tiny, tiny_janusflow, tiny_model

from janusflow.interop.convert import convert
from janusflow.interop.load import load_model
from janusflow.tuning.active import merge
from janusflow.tuning.digest import NAMES_LENGTH, base_digest
from janusflow.tuning.files import load_adapter

TINY = base_digest(tiny_model())


def test_dtype_folder_and_layout_do_not_change_it(tmp_path: Path):
    write_release_folder(tmp_path / "release")
    convert(tmp_path / "release", tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "again", to="official")
    found = {
        base_digest(load_model(tmp_path / name, dtype=dtype))
        for name in ("release", "ours", "again")
        for dtype in (None, torch.float32, torch.bfloat16)
    }
    assert len(found) == 1


def test_saving_does_not_change_it(tmp_path: Path):
    assert base_digest(load_model(save_tiny(tmp_path / "tiny"))) == TINY


@pytest.mark.parametrize("parts", [(), ("generation_decoder_aligner",)])
def test_an_adapter_inside_does_not_change_it(tmp_path: Path, parts: tuple[str, ...]):
    model = tiny_model()
    on = ("llm.attention",) if parts else ("llm.attention", "generation")
    write_adapter(tmp_path / "a", model, on=on, modules_to_save=parts)
    load_adapter(model, tmp_path / "a", name="a")
    assert base_digest(model) == TINY


def test_float16_keeps_the_half_of_names_and_shapes():
    assert base_digest(tiny_model().half())[:NAMES_LENGTH] == TINY[:NAMES_LENGTH]


def test_other_weights_and_a_merged_adapter_change_the_half_of_values(tmp_path: Path):
    merged = tiny_janusflow()
    write_adapter(tmp_path / "a", merged.model, size=0.02)
    load_adapter(merged.model, tmp_path / "a", name="a")
    merge(merged.model)
    for other in (base_digest(tiny_model(seed=1)), base_digest(merged.model)):
        assert other != TINY
        assert other[:NAMES_LENGTH] == TINY[:NAMES_LENGTH]


def test_other_shapes_change_the_half_of_names():
    model = tiny_model()
    model.understanding_aligner = torch.nn.Linear(24, 33)
    assert base_digest(model)[:NAMES_LENGTH] != TINY[:NAMES_LENGTH]


def test_columns_of_a_matrix_are_all_sampled_sooner_or_later():
    """Places fall on many rows and columns, not on the first of each."""
    places = torch.arange(64) * 2_654_435_761 % (192 * 192)
    assert len(set((places % 192).tolist())) > 32
    assert len(set((places // 192).tolist())) > 32
