"""Loading costs at most 1.15 times the bytes of the weights, measured in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from release_folder import release_settings, write_release_folder

from janusflow.interop.convert import convert
from janusflow.interop.load import load_model

BOUND = 1.15

# Peak memory is that of the whole process and never falls: what torch and transformers take is
# measured first, in the same process, by loading nothing.
MEASURE = """
import resource, sys, torch
from janusflow.interop.load import load_model
from janusflow.model.modeling import JanusFlowForConditionalGeneration

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

load_model(sys.argv[1])  # a small one: imports and first-use allocations
before = peak()
model = load_model(sys.argv[2], dtype=getattr(torch, sys.argv[3]))
print(peak() - before, sum(p.nbytes for p in model.parameters()))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """190 M parameters, 380 MB: an embedding and a head of a fifth each, as in the release."""
    folder = tmp_path_factory.mktemp("large")
    settings = release_settings(llm_width=768, llm_layers=8, vocab_size=50_000)
    write_release_folder(folder / "single", settings=settings, make_weight=_ones)
    write_release_folder(folder / "bin", settings=settings, files="bin", make_weight=_ones)
    convert(folder / "single", folder / "ours")
    return folder


def _ones(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.ones(shape)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("layout", ["single", "bin", "ours"])
def test_loading_takes_little_more_than_the_weights(
    large: Path, release: Path, layout: str, dtype: str
):
    command = [sys.executable, "-c", MEASURE, str(release), str(large / layout), dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, weights = map(int, done.stdout.split())
    assert weights > 300e6
    assert grown <= BOUND * weights, f"{grown / weights:.3f}"
    assert grown > 0.9 * weights  # the measure itself must see the weights


def test_nothing_is_left_without_memory(release: Path):
    """No parameter and no buffer stays on the meta device."""
    model = load_model(release)
    assert not any(p.is_meta for p in (*model.parameters(), *model.buffers()))
