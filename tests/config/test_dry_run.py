"""What a dry run assumes: the table of GPUs, and settings that cannot be meant."""

from typing import Any

import pytest

from janusflow.config.dry_run import DryRunConfig
from janusflow.config.errors import ConfigError
from janusflow.config.gpus import GPUS, find_gpu


def test_every_gpu_is_faster_in_bf16_than_in_fp32():
    for name, gpu in GPUS.items():
        assert gpu.flops("bf16") == 1e12 * gpu.bf16_tflops > gpu.flops("fp32") > 1e13, name


def test_a_gpu_is_found_whatever_its_case_and_an_unknown_one_refused_with_the_nearest():
    assert find_gpu("H100") is GPUS["h100"]
    with pytest.raises(ConfigError, match="did you mean h100"):
        find_gpu("h10")
    with pytest.raises(ConfigError, match="Known are a100"):
        find_gpu("zx81")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"gpu": "a1000"}, "gpu='a1000' is unknown"),
        ({"gpus": 0}, "gpus=0 must be at least 1"),
        ({"prompt_tokens": 0}, "prompt_tokens=0"),
        ({"text_tokens": 0}, "text_tokens=0"),
        ({"mfu": 0.0}, "mfu=0.0"),
        ({"mfu": 1.5}, "mfu=1.5"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(settings: dict[str, Any], told: str):
    with pytest.raises(ConfigError, match=told):
        DryRunConfig(**settings)
