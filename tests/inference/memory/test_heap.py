"""The heap keeps what steps ask for again and again: counted in page faults of a fresh process."""

import mmap
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from janusflow.inference import loading
from janusflow.inference.memory import heap, quantization

# Three blocks of 20 MB, as a step's, freed in the order in which they came.
PROBE = """
import ctypes, resource, sys
from janusflow.inference.memory.heap import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
libc, size = ctypes.CDLL(None), 20 * 2**20
libc.malloc.restype = ctypes.c_void_p
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for step in range(20):
    blocks = [ctypes.c_void_p(libc.malloc(size)) for _ in range(3)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks:
        libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

needs_glibc = pytest.mark.skipif(
    sys.platform != "linux" or heap._function("mallopt") is None, reason="tunes glibc"
)


def page_faults(way: str) -> int:
    out = subprocess.run(
        [sys.executable, "-c", PROBE, way], check=True, capture_output=True, text=True
    ).stdout
    return int(out)


@needs_glibc
def test_blocks_that_come_again_are_not_cleared_again(monkeypatch: pytest.MonkeyPatch):
    for name in heap.SET_BY_USER:
        monkeypatch.delenv(name, raising=False)
    assert page_faults("kept") < page_faults("as it is") / 5


def test_what_the_environment_says_holds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    assert not heap.keep_freed_memory()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is done")
def test_only_pages_that_hold_nothing_else_are_forgotten():
    """Anonymous memory that was forgotten is zero; a file's would be read again."""
    page = mmap.PAGESIZE
    memory = torch.frombuffer(
        mmap.mmap(-1, 6 * page, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype=torch.uint8
    ).fill_(1)
    heap.forget_pages(memory[page // 2 : -page // 2])
    assert not memory[page:-page].any()
    heap.forget_pages(memory[10:20])  # not one page of its own
    assert memory[:page].all()
    assert memory[-page:].all()


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(heap.sys, "platform", "darwin")
    assert not heap.keep_freed_memory()
    heap.return_freed_memory()


@pytest.mark.parametrize(
    ("settings", "kept", "returned"),
    [
        ({}, 1, 0),
        ({"offload": "blocks"}, 0, 0),  # saves memory, so nothing free is to stay
        ({"quantize": "int8"}, 1, 1),  # the head; the layers follow when they are used
    ],
)
def test_loading_keeps_or_returns_what_is_freed(
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    kept: int,
    returned: int,
):
    calls: list[str] = []
    for where, name in ((loading, "keep_freed_memory"), (quantization, "return_freed_memory")):
        monkeypatch.setattr(where, name, lambda name=name: calls.append(name))
    loading.load(tiny_folder, device="cpu", **settings)
    assert calls == ["return_freed_memory"] * returned + ["keep_freed_memory"] * kept
