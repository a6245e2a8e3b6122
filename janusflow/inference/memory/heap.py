"""What stays in the process's memory under CPU inference; on Linux, elsewhere nothing is done.

glibc gives large blocks back to the system as soon as they are free, and a step of drawing asks
for the same blocks again: the system then clears every page anew, 6% of a step's time.
"""

import ctypes
import mmap
import os
import sys
from typing import Any

from torch import Tensor

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""mallopt(3)."""
KEPT_BYTES = 2**29
"""Free memory at the heap's end that stays in the process; at 1.3B's widths half was too little."""
LARGEST_IN_HEAP = 2**25
"""Larger blocks go straight to the system; glibc allows no more."""
SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let the process keep what steps will ask for again; False where that was not done.

    It is left alone where the environment says how the heap is to behave.
    """
    tune = _function("mallopt")
    if tune is None or any(name in os.environ for name in SET_BY_USER):
        return False
    return bool(tune(M_MMAP_THRESHOLD, LARGEST_IN_HEAP) and tune(M_TRIM_THRESHOLD, KEPT_BYTES))


def return_freed_memory() -> None:
    """Give the heap's free pages back to the system now."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


def forget_pages(mapped: Tensor) -> None:
    """Drop the pages of a mapped file that hold this tensor and nothing else.

    They count as memory of the process until then. Whoever looks at them again reads the file;
    what is no view of an unchanged file is lost.
    """
    advise = _function("madvise") if mapped.device.type == "cpu" else None
    first = -(-mapped.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    size = (mapped.data_ptr() + mapped.nbytes - first) // mmap.PAGESIZE * mmap.PAGESIZE
    if advise is not None and size > 0:
        advise(ctypes.c_void_p(first), ctypes.c_size_t(size), mmap.MADV_DONTNEED)


def _function(name: str) -> Any:
    """A function of the C library, None where it has none of this name."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), name, None)
