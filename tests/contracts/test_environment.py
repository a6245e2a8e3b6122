"""A CPU installation stays small: nothing of CUDA, and no torchvision at all."""

from importlib.metadata import distributions

import pytest
import torch

INSTALLED = {distribution.name.lower() for distribution in distributions()}


@pytest.mark.skipif(torch.version.cuda is not None, reason="torch is a CUDA build here")
def test_a_cpu_torch_comes_without_cuda_packages():
    assert not {name for name in INSTALLED if name.startswith("nvidia-") or name == "triton"}


@pytest.mark.skipif(torch.version.cuda is not None, reason="torch is a CUDA build here")
def test_nothing_asks_for_torchvision():
    """A CUDA-built one beside a CPU torch makes transformers fail with a misleading message."""
    assert "torchvision" not in INSTALLED
