"""What GPUs can do at most, for estimates: makers' data sheets, dense (no sparsity), SXM or OAM."""

import difflib
from dataclasses import dataclass

from janusflow.config.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """Peak rates and memory of one GPU."""

    bf16_tflops: float
    """Matrix products in bfloat16 that add up in float32, 10^12 operations a second."""
    fp32_tflops: float
    """The same in true float32, PyTorch's default there (no TF32)."""
    memory_gb: float
    """10^9 bytes."""
    bandwidth_gb_s: float
    """Memory reads and writes, 10^9 bytes a second."""

    def flops(self, precision: str) -> float:
        """Operations a second in `bf16` or `fp32`."""
        return 1e12 * (self.bf16_tflops if precision == "bf16" else self.fp32_tflops)


# Sources: NVIDIA's data sheets of the A100 SXM (2021), H100 SXM (2023), H200 SXM (2024), HGX B200
# (an eighth of the board's figures), L40S, L4 and A10 (half of what they quote with sparsity), the
# white papers of Ada (RTX 4090) and Ampere GA102 (RTX 3090), AMD's data sheet of the MI300X (2023).
GPUS: dict[str, Gpu] = {
    "a100": Gpu(bf16_tflops=312.0, fp32_tflops=19.5, memory_gb=80.0, bandwidth_gb_s=2039.0),
    "a100-40gb": Gpu(bf16_tflops=312.0, fp32_tflops=19.5, memory_gb=40.0, bandwidth_gb_s=1555.0),
    "h100": Gpu(bf16_tflops=989.0, fp32_tflops=67.0, memory_gb=80.0, bandwidth_gb_s=3350.0),
    "h200": Gpu(bf16_tflops=989.0, fp32_tflops=67.0, memory_gb=141.0, bandwidth_gb_s=4800.0),
    "b200": Gpu(bf16_tflops=2250.0, fp32_tflops=75.0, memory_gb=180.0, bandwidth_gb_s=7700.0),
    "mi300x": Gpu(bf16_tflops=1307.0, fp32_tflops=163.0, memory_gb=192.0, bandwidth_gb_s=5300.0),
    "l40s": Gpu(bf16_tflops=362.0, fp32_tflops=91.6, memory_gb=48.0, bandwidth_gb_s=864.0),
    "l4": Gpu(bf16_tflops=121.0, fp32_tflops=30.3, memory_gb=24.0, bandwidth_gb_s=300.0),
    "a10": Gpu(bf16_tflops=125.0, fp32_tflops=31.2, memory_gb=24.0, bandwidth_gb_s=600.0),
    "rtx4090": Gpu(bf16_tflops=165.0, fp32_tflops=82.6, memory_gb=24.0, bandwidth_gb_s=1008.0),
    "rtx3090": Gpu(bf16_tflops=71.0, fp32_tflops=35.6, memory_gb=24.0, bandwidth_gb_s=936.0),
}

DEVICES: dict[str, str] = {
    "NVIDIA A100-SXM4-80GB": "a100",
    "NVIDIA A100 80GB PCIe": "a100",
    "NVIDIA A100-SXM4-40GB": "a100-40gb",
    "NVIDIA A100-PCIE-40GB": "a100-40gb",
    "NVIDIA H100 80GB HBM3": "h100",
    "NVIDIA H200": "h200",
    "NVIDIA B200": "b200",
    "AMD Instinct MI300X": "mi300x",
    "NVIDIA L40S": "l40s",
    "NVIDIA L4": "l4",
    "NVIDIA A10": "a10",
    "NVIDIA GeForce RTX 4090": "rtx4090",
    "NVIDIA GeForce RTX 3090": "rtx3090",
}
"""What drivers call them, without slower boards of the same chip (H100 PCIe, H100 NVL, A10G)."""


def gpu_of_device(name: str) -> Gpu | None:
    """The GPU that a driver calls so, if its rates are known."""
    return GPUS[DEVICES[name]] if name in DEVICES else None


def find_gpu(name: str) -> Gpu:
    """The GPU of a name, whatever its case.

    Raises:
        ConfigError: the name is unknown.
    """
    gpu = GPUS.get(name.lower())
    if gpu is None:
        near = difflib.get_close_matches(name.lower(), GPUS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(f"gpu={name!r} is unknown: {hint}Known are {', '.join(GPUS)}.")
    return gpu
