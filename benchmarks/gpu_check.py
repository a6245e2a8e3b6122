"""What a GPU makes of all this, in at most eight minutes, with nothing to download.

Run: python benchmarks/gpu_check.py [--device cuda] [--official ../Janus] [--page FILE] [--quick]

Every part is a process of its own with a budget of seconds; one that fails or takes too long is
told on the page, and the next begins.

card      the rates of one large matrix product in float32 and bfloat16, as torch makes them
tests     those marked `gpu`: features of drawing and answering in both dtypes (tests/gpu)
parity    velocities on the reference tensors (JANUSFLOW_REFERENCE), in float32 and bfloat16
bench     speed at 1.3B, batches 1, 5 and 16, 30 steps, beside the authors' code if --official
          names it (benchmarks/versus_official)
training  a minute of mini's stage 3: losses, samples a second, the share of the float32 rate

--quick is for a CPU: smaller products, some of the tests, no bench, two steps of training.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "benchmarks/results/gpu-check.md"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MAX_LINES = 60
"""Of a part's output that the page shows, its last ones."""


@dataclass(frozen=True)
class Part:
    """A command, and how long it may take."""

    name: str
    seconds: int
    command: list[str]


@dataclass(frozen=True)
class Outcome:
    """What became of a part."""

    part: Part
    verdict: str
    seconds: float
    output: str


def parts(options: argparse.Namespace) -> list[Part]:
    """What is run, in this order."""
    own = [sys.executable, str(Path(__file__)), "--device", options.device]
    own += ["--quick"] if options.quick else []
    tests = [
        sys.executable,
        "-m",
        "pytest",
        "tests/gpu",
        "-m",
        "gpu",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    tests += ["-k", "euler and float32"] if options.quick else ["--durations=5"]
    found = [
        Part("card", 30, [*own, "--part", "card"]),
        Part("tests", 140, tests),
        Part("parity", 50, [*own, "--part", "parity"]),
        Part("training", 90, [*own, "--part", "training"]),
    ]
    if not options.quick:
        bench = [sys.executable, "benchmarks/versus_official/compare_speed.py", "--size", "full"]
        bench += ["--device", options.device, "--dtype", "bfloat16", "--batches", "1", "5", "16"]
        bench += ["--cases", "load", "velocity", "image", "--steps", "30", "--rounds", "1"]
        bench += ["--repeats", "2", "--folder", str(options.weights)]
        if options.official is not None:
            bench += ["--official", str(options.official)]
            bench += ["--official-python", options.official_python]
        found.insert(3, Part("bench", 170, bench))
    return found


def run(part: Part, *, device: str) -> Outcome:
    """Run a part within its budget."""
    environment = os.environ | {"JANUSFLOW_TEST_DEVICES": device}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        try:
            done = subprocess.run(
                part.command,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=part.seconds,
                cwd=ROOT,
                env=environment,
            )
            verdict = "passed" if done.returncode == 0 else f"FAILED (exit code {done.returncode})"
        except subprocess.TimeoutExpired:
            verdict = f"STOPPED after its {part.seconds} s"
        out.seek(0)
        output = out.read()
    return Outcome(part, verdict, time.perf_counter() - begin, output)


def page(outcomes: list[Outcome], *, device: str) -> str:
    """All of it as Markdown."""
    name = torch.cuda.get_device_name() if device == "cuda" else device
    lines = [f"# GPU check: {name}", "", f"torch {torch.__version__}, CUDA {torch.version.cuda}, "]
    lines += [f"{time.strftime('%d %B %Y')}: `python benchmarks/gpu_check.py`", ""]
    lines += ["| part | seconds | |", "|---|---|---|"]
    lines += [f"| {each.part.name} | {each.seconds:.0f} | {each.verdict} |" for each in outcomes]
    for each in outcomes:
        shown = each.output.strip().splitlines()[-MAX_LINES:]
        lines += ["", f"## {each.part.name}", "", "```", *shown, "```"]
    return "\n".join(lines) + "\n"


# ---- parts that run in a process of their own ---------------------------------------------------


def synchronize(device: str) -> None:
    """Wait until the device has done all that it was asked for."""
    if device != "cpu":
        getattr(torch, device).synchronize()


def matmul_rate(device: str, dtype: torch.dtype, *, side: int, repeats: int = 10) -> float:
    """Operations a second of one square matrix product."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    a @ b
    synchronize(device)
    begin = time.perf_counter()
    for _ in range(repeats):
        a @ b
    synchronize(device)
    return repeats * 2 * side**3 / (time.perf_counter() - begin)


def card(options: argparse.Namespace) -> None:
    """Print the rates of matrix products."""
    side = 256 if options.quick else 8192
    for name, dtype in DTYPES.items():
        rate = matmul_rate(options.device, dtype, side=side)
        print(f"{name}: {rate / 1e12:.3f} TFLOP/s in products of {side} x {side}")


def parity(options: argparse.Namespace) -> None:
    """Print how far velocities are from the reference's; fail beyond 1e-4 in float32."""
    sys.path.insert(0, str(ROOT / "tests/parity"))
    from reference import Reference, reference_folder
    from velocity import Drawing, time_named

    from janusflow.model.prompt import Prompt

    drawing, device = Drawing(Reference(reference_folder())), options.device
    worst = 0.0
    for name, dtype in DTYPES.items():
        model = drawing.model.to(device, dtype)
        latents: Tensor = drawing.wanted["z_8"].to(device)
        one = drawing.prompt(len(latents))
        fields = (one.token_ids, one.attention_mask, one.position_ids)
        ids, mask, positions = (each.to(device) for each in fields)
        prompt = Prompt(token_ids=ids, attention_mask=mask, position_ids=positions)
        for moment in ("t0", "t333", "t967"):
            wanted = drawing.wanted[f"v_{moment}_8"].to(device)
            both = torch.cat([latents, latents])
            t = torch.full((len(both),), time_named(moment), device=device)
            with torch.no_grad():
                found = model.velocity(both, t, model.encode_prompt(prompt)).float()
            error, size = float((found - wanted).abs().max()), float(wanted.abs().max())
            worst = max(worst, error) if name == "float32" else worst
            print(f"{name} {moment}: largest error {error:.1e} of {size:.2f}")
    if not worst <= 1e-4:
        sys.exit(f"float32 velocities are {worst:.1e} off, wanted at most 1e-4")


def training(options: argparse.Namespace) -> None:
    """Train mini for a minute on stage 3's mixture, and print losses and rates."""
    from training_step import STAGE_3, sources_in

    import janusflow
    from janusflow.config.training import LoopConfig, MixtureConfig, ObjectiveConfig
    from janusflow.costs.meter import counting
    from janusflow.data.batches.collate import Collator
    from janusflow.data.batches.mixture import mixed_batches
    from janusflow.training.engine.loop import start, train_step
    from janusflow.training.objectives.janusflow import JanusFlowObjective
    from janusflow.training.stage.freezing import PARTS, train_only

    jf = janusflow.load("mini", dtype="float32", device=options.device)
    train_only(jf.model, list(PARTS))
    objective = JanusFlowObjective(jf.model, ObjectiveConfig())
    loop, samples = LoopConfig(steps=100_000), 8 if options.quick else 128
    mixture = MixtureConfig(batch_size=samples, row_tokens=416, ratios=STAGE_3)
    with tempfile.TemporaryDirectory() as folder:
        generation, side = jf.model.config.generation, jf.model.config.generation.latent_size
        sources = sources_in(Path(folder) / "scenes", (generation.latent_channels, side, side))
        state = start(objective, loop, run=Path(folder) / "run")
        tokenizer = jf.processor.tokenizer.backend_tokenizer
        collate = Collator(tokenizer, jf.model.config, row_tokens=mixture.row_tokens)
        batches = mixed_batches(sources, collate, mixture, seed=0, step=0)
        with counting() as meter:
            train_step(state, next(batches), loop)
        synchronize(options.device)
        steps, begin, least = 0, time.perf_counter(), 0 if options.quick else 60
        while time.perf_counter() - begin < least or steps < 2:
            losses = train_step(state, next(batches), loop).losses
            steps += 1
        synchronize(options.device)
        seconds = (time.perf_counter() - begin) / steps
    rate = matmul_rate(options.device, torch.float32, side=256 if options.quick else 8192)
    print(f"{steps} steps, {seconds:.3f} s each, {samples / seconds:.0f} samples a second")
    share = meter.flops / seconds / rate
    print(f"{meter.flops / 1e12:.3f} TFLOP a step: {share:.1%} of the measured float32 rate")
    for name, loss in losses.items():
        print(f"{name} in the last step: {float(loss):.3f}")
    if not torch.stack(list(losses.values())).isfinite().all():
        sys.exit("a loss is not finite")


OWN_PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "card": card,
    "parity": parity,
    "training": training,
}


def main() -> int:
    """Run all parts and write the page; the status is 1 if a part did not pass."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--official", type=Path, help="checkout of the authors' code")
    parser.add_argument("--official-python", default=sys.executable)
    parser.add_argument("--weights", type=Path, default=Path("runs/bench"), help="for bench")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the page is written")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--part", choices=list(OWN_PARTS), help="run one in this process")
    options = parser.parse_args()
    if options.part is not None:
        OWN_PARTS[options.part](options)
        return 0
    outcomes = []
    for part in parts(options):
        outcome = run(part, device=options.device)
        print(f"{part.name}: {outcome.verdict}, {outcome.seconds:.0f} s", flush=True)
        outcomes.append(outcome)
        options.page.parent.mkdir(parents=True, exist_ok=True)
        options.page.write_text(page(outcomes, device=options.device), encoding="utf-8")
    return int(any(each.verdict != "passed" for each in outcomes))


if __name__ == "__main__":
    sys.exit(main())
