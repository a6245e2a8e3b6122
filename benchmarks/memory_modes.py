"""Peak memory and time of the 1.3B model in each way of loading it, each in a fresh process.

Run: python benchmarks/memory_modes.py [--modes plain parts blocks int8] [--data-limit 4]
Weights of the release's shapes, random, bfloat16, are written to runs/bench once (4.4 GB). A
process loads them in float32 on the CPU, draws an image with guidance and answers a question
about it with 2 tokens. `anonymous` is the peak of what the process has to itself, sampled every
few milliseconds; `resident` adds pages of mapped files, which the system may drop. Seconds are
the processor's, over all threads, which a busy machine changes little. Linux only.
"""

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = Path("runs/bench/janusflow-1.3b")
GB = 10**9
MODES: dict[str, dict[str, str]] = {
    "plain": {},
    "parts": {"offload": "parts"},
    "blocks": {"offload": "blocks"},
    "int8": {"quantize": "int8"},
}
IMAGE_TOKENS = 576
SAMPLED_EVERY = 0.005


def write_weights(folder: Path) -> None:
    """Our layout, sizes of the release, and the tokenizer of mini."""
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from safetensors.torch import save_file
    from tokenizers import Tokenizer

    from janusflow.interop.conversion import shapes_of
    from janusflow.interop.hub import MINI, find_folder
    from janusflow.interop.load import on_meta
    from janusflow.interop.release import VAE, release_config
    from janusflow.interop.release_config import read_config
    from janusflow.mini.training.tokenizer import mini_processor

    folder.mkdir(parents=True)
    config, of_mini = release_config(), read_config(find_folder(MINI))
    for name in ("bos", "eos", "pad", "image", "image_start", "image_end"):
        setattr(config, f"{name}_token_id", getattr(of_mini, f"{name}_token_id"))
    config.vae = "vae"
    config.save_pretrained(folder)
    tokenizer = Tokenizer.from_file(str(find_folder(MINI) / "tokenizer.json"))
    side = config.vision_config.image_size
    mini_processor(tokenizer, image_size=side, num_image_tokens=IMAGE_TOKENS).save_pretrained(
        folder
    )
    torch.manual_seed(0)
    vae: Any = AutoencoderKL.from_config(VAE)
    vae.save_pretrained(folder / "vae")
    few = torch.randn(2**20).mul_(0.02).bfloat16()
    weights = {}
    for name, shape in shapes_of(on_meta(config)).items():
        count = torch.Size(shape).numel()
        weights[name] = few.repeat(-(-count // len(few)))[:count].reshape(shape).clone()
    save_file(weights, folder / "model.safetensors")


def status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"no {name} in /proc/self/status: this needs Linux")


class Peaks:
    """The highest memory of each stretch of work."""

    def __init__(self) -> None:
        self.anonymous = 0
        self.found: dict[str, dict[str, float]] = {}
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while True:
            self.anonymous = max(self.anonymous, status("RssAnon"))
            time.sleep(SAMPLED_EVERY)

    def of(self, name: str, work: Callable[[], Any]) -> Any:
        """Do it, and keep its peaks and seconds."""
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        self.anonymous = status("RssAnon")
        start = time.process_time()
        result = work()
        self.found[name] = {
            "anonymous": max(self.anonymous, status("RssAnon")) / GB,
            "resident": status("VmHWM") / GB,
            "seconds": time.process_time() - start,
        }
        return result


def measure(mode: str, steps: int) -> dict[str, Any]:
    """Load, draw and ask in this process."""
    import janusflow

    import_module("janusflow.inference.loading")  # libraries are not what is measured

    peaks, ends = Peaks(), []
    peaks.of("libraries", lambda: None)
    jf = peaks.of("load", lambda: janusflow.load(FOLDER, device="cpu", **MODES[mode]))

    begun: list[float] = []
    jf.model.generation_encoder.register_forward_pre_hook(
        lambda *_: begun.append(time.process_time())
    )

    def draw() -> Any:
        return jf.generate(
            "a red circle", seed=0, steps=steps, on_step=lambda _: ends.append(time.process_time())
        )

    (image,) = peaks.of("draw", draw)
    peaks.of("ask", lambda: jf.ask(image, "What colour is the circle?", max_new_tokens=2))
    return {"work": peaks.found, "step": ends[-1] - begun[-1]}


def main() -> None:
    """Print a line a mode, and what each stretch of work took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument(
        "--data-limit", type=float, help="GB: the system refuses more (RLIMIT_DATA)."
    )
    parser.add_argument("--here", choices=list(MODES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        if options.data_limit:
            limit = int(options.data_limit * GB)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        print(json.dumps(measure(options.here, options.steps)))
        return
    if not FOLDER.exists():
        write_weights(FOLDER)
    for mode in options.modes:
        again = ["--here", mode, "--steps", str(options.steps)]
        if options.data_limit:
            again += ["--data-limit", str(options.data_limit)]
        command = [sys.executable, "-W", "ignore", __file__, *again]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(out.strip().splitlines()[-1])
        print(f"{mode}: {found['step']:.1f} s a step")
        for name, peak in found["work"].items():
            print(
                f"  {name:10s} anonymous {peak['anonymous']:5.2f} GB, resident "
                f"{peak['resident']:5.2f} GB, {peak['seconds']:6.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
