"""Peak memory of real training steps of `mini` on the CPU, against what the dry run says.

Run: python benchmarks/peak_memory.py [--micro-batch-size 8] [--batch-size 32]
[--activation-checkpointing]
Rendered scenes, the shipped weights, steps of the real loop. Measured are the allocator's bytes, as
torch.profiler records them from the second step on, and how far the process's resident memory
(Linux) rises above what it was before the stage; the latter holds libraries loaded since, what
kernels and numpy take, and what the system's allocator keeps.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
import yaml
from torch.profiler import ProfilerActivity, profile

import janusflow.mini
from janusflow.config.dry_run import DryRunConfig
from janusflow.config.recipes import StageRecipe
from janusflow.mini.scenes.dataset import write_scenes
from janusflow.training.engine.loop import StepReport, TrainState
from janusflow.training.estimate.dry_run import dry_run
from janusflow.training.recipes import read_recipe
from janusflow.training.stage.stage import train_stage

ASSETS = Path(janusflow.mini.__path__[0]) / "assets"
STEPS = 4
LENGTHS = {"prompt_tokens": 7, "question_tokens": 156, "answer_tokens": 28, "text_tokens": 25}
"""So that samples have the mean tokens of these scenes: 254, 75 and 27."""


class MemoryHook:
    """Measures the steps after the first, when the optimizer has its state."""

    def __init__(self, root: Path) -> None:
        self.trace = root / "trace.json"
        self.state_bytes = self.peak_bytes = self.highest_resident = 0

    def after_step(self, state: TrainState, report: StepReport) -> None:
        """Begin after the first step, end after the last."""
        if report.step == 1:
            self.state_bytes = state_bytes(state)
            self.profiler = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
            self.profiler.start()
        if report.step == STEPS:
            self.profiler.stop()
            self.highest_resident = resident("VmHWM")
            self.profiler.export_chrome_trace(str(self.trace))
            self.peak_bytes = self.state_bytes + allocated_at_most(self.trace)


def state_bytes(state: TrainState) -> int:
    """Weights, optimizer and average."""
    tensors = [*state.objective.parameters(), *(state.ema.shadow.values() if state.ema else ())]
    tensors += [
        value
        for moments in state.optimizer.state.values()
        for value in moments.values()
        if isinstance(value, torch.Tensor)
    ]
    return sum(tensor.nbytes for tensor in tensors)


def resident(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"no {name} in /proc/self/status: this needs Linux")


def allocated_at_most(trace: Path) -> int:
    """The highest sum of allocations less releases."""
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    memory = sorted(
        (event for event in events if event.get("name") == "[memory]"),
        key=lambda event: event["ts"],
    )
    total = highest = 0
    for event in memory:
        total += event["args"]["Bytes"]
        highest = max(highest, total)
    return highest


def recipe_in(
    root: Path, *, batch_size: int, micro_batch_size: int | None, activation_checkpointing: bool
) -> StageRecipe:
    """Stage 2 of mini from the shipped weights, on a few scenes; images go through the VAE."""
    write_scenes(root / "scenes", num_scenes=64, size=64, seed=0)
    scenes = {"format": "scenes", "path": str(root / "scenes")}
    drawn = {"format": "captions", "path": str(root / "pairs.jsonl")}
    images(root)
    tree = {
        "task": "stage",
        "run": str(root / "run"),
        "start": str(ASSETS),
        "processor": str(ASSETS),
        "vae": str(ASSETS / "vae"),
        "data": {"understanding": [scenes], "generation": [drawn], "text": [scenes]},
        "trainable": ["aligners", "generation_encoder", "generation_decoder", "repa_head", "llm"],
        "mixture": {
            "batch_size": batch_size,
            "row_tokens": 416,
            "ratios": [{"understanding": 14, "generation": 80, "text": 6}],
        },
        "loop": {
            "steps": STEPS,
            "micro_batch_size": micro_batch_size,
            "save_every": 1000,
            "parallelism": {"activation_checkpointing": activation_checkpointing},
        },
    }
    path = root / "stage.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return read_recipe(path)


def images(root: Path) -> None:
    """The scenes as files with captions, so that the VAE encodes them."""
    from PIL import Image

    from janusflow.mini.scenes.dataset import SceneFolder

    with (root / "pairs.jsonl").open("w", encoding="utf-8") as file:
        for number, image in enumerate(SceneFolder(root / "scenes").images):
            name = root / f"{number}.png"
            Image.fromarray(image).save(name)
            file.write(json.dumps({"image": str(name), "caption": "a red circle"}) + "\n")


def main() -> None:
    """Print what was measured and what was estimated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--micro-batch-size", type=int)
    parser.add_argument("--activation-checkpointing", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        recipe = recipe_in(
            root,
            batch_size=options.batch_size,
            micro_batch_size=options.micro_batch_size,
            activation_checkpointing=options.activation_checkpointing,
        )
        hook = MemoryHook(root)
        memory = dry_run(recipe, DryRunConfig(gpus=1, **LENGTHS)).memory
        before = resident("VmRSS")
        train_stage(recipe, (hook,))
    estimated, measured = sum(memory.values()), hook.peak_bytes
    state = hook.state_bytes
    size = options.micro_batch_size or options.batch_size
    print(f"batch {options.batch_size} by {size}, {torch.__version__}")
    print(f"estimated              {estimated / 1e6:9.1f} MB: {memory}")
    print(f"measured, allocator    {measured / 1e6:9.1f} MB, of it state {state / 1e6:.1f} MB")
    print(f"measured, resident     {(hook.highest_resident - before) / 1e6:9.1f} MB")
    print(f"estimated / measured   {estimated / measured:9.3f} of the allocator's")


if __name__ == "__main__":
    main()
