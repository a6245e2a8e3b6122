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

# The peak resident memory of the process, which Linux counts from its start. (getrusage would hand
# down the parent's, here pytest's.) What imports and first uses take is measured by loading a
# small model first.
MEASURE = """
import sys, torch
from pathlib import Path
from janusflow.interop.load import load_model

def resident(which):
    status = Path("/proc/self/status").read_text()
    return int(status.partition(which + ":")[2].split()[0]) * 1024

load_model(sys.argv[1])
before = resident("VmRSS")
model = load_model(sys.argv[2], dtype=getattr(torch, sys.argv[3]))
print(resident("VmHWM") - before, sum(p.nbytes for p in model.parameters()))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """152 M parameters, 304 MB: an embedding and a head of a quarter each, as a hard case."""
    folder = tmp_path_factory.mktemp("large")
    settings = release_settings(llm_width=768, llm_layers=8, vocab_size=50_000)
    write_release_folder(folder / "single", settings=settings, make_weight=_ones)
    write_release_folder(folder / "bin", settings=settings, files="bin", make_weight=_ones)
    convert(folder / "single", folder / "ours")
    return folder


def _ones(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.ones(shape)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize(
    ("layout", "dtype"),
    [
        ("single", "bfloat16"),
        ("single", "float32"),
        ("bin", "bfloat16"),
        ("bin", "float32"),
        ("ours", "bfloat16"),
    ],
)
def test_loading_takes_little_more_than_the_weights(
    large: Path, release: Path, layout: str, dtype: str
):
    command = [sys.executable, "-c", MEASURE, str(release), str(large / layout), dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, weights = map(int, done.stdout.split())
    assert weights > 250e6
    assert grown <= BOUND * weights, f"{grown / weights:.3f}"
    assert grown > 0.9 * weights  # the measure itself must see the weights


def test_nothing_is_left_without_memory(release: Path):
    """No parameter and no buffer stays on the meta device."""
    model = load_model(release)
    assert not any(p.is_meta for p in (*model.parameters(), *model.buffers()))
