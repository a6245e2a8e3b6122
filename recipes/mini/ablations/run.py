"""Train all arms of the paper's ablations at mini's scale, measure them, and write the tables.

python recipes/mini/ablations/run.py                       # all arms, 3 seeds
python recipes/mini/ablations/run.py --page docs/ablations.md
python recipes/mini/ablations/run.py --limit-steps 1 --seeds 2 --items 2 --at-once 1

The last line goes the whole way in a minute, to try it; it keeps its runs apart.

Finished runs and measurements are kept and not made again, so the same command goes on after an
interruption. Parts of mini that are missing (scenes, tokenizer, VAE, tower, language model) are
trained first, by its own recipes. `key=value` changes a setting of every arm.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from measuring import Exam, measure_run
from plotting import plot, require_matplotlib
from tabulating import Measured, Results, as_json, require_same_seeds, tables

from janusflow.config.errors import ConfigError, JanusFlowError, TrainingError
from janusflow.config.files import replace_text
from janusflow.training.recipes import DONE, read_recipe, read_stage, run_recipes

HERE = Path(__file__).parent
PARTS = "[1-5]-*.yaml"
"""What the arms are built around, in the folder above."""
BEGIN, END = "<!-- results begin -->", "<!-- results end -->"
"""Lines of a page that results are written between."""
IMAGE = "ablations.png"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each arm (default 3)")
    parser.add_argument("--arms", nargs="+", help="some of the recipes here, by name")
    parser.add_argument("--items", type=int, default=100, help="scenes a checkpoint is measured on")
    parser.add_argument("--drawing-steps", type=int, default=15, help="of an image (default 15)")
    parser.add_argument("--at-once", type=int, default=2, help="runs side by side (default 2)")
    parser.add_argument("--limit-steps", type=int, help="to try the command: the numbers mean less")
    parser.add_argument("--output", type=Path, help="default runs/ablations, or runs/try limited")
    parser.add_argument("--page", type=Path, help="a page to write the results into")
    parser.add_argument("--no-plot", action="store_true", help="do without matplotlib")
    options = parser.parse_args(arguments)
    if options.at_once < 1:
        parser.error(f"--at-once {options.at_once}: at least 1 is needed")
    options.output = options.output or Path("runs/try" if options.limit_steps else "runs/ablations")
    return options


def chosen_arms(names: Sequence[str] | None) -> dict[str, Path]:
    """Recipes of this folder by name.

    Raises:
        ConfigError: there is none of a name.
    """
    arms = {path.stem: path for path in sorted(HERE.glob("*.yaml"))}
    unknown = set(names or ()) - set(arms)
    if unknown:
        raise ConfigError(f"--arms {' '.join(sorted(unknown))}: wanted some of {', '.join(arms)}.")
    return {name: path for name, path in arms.items() if not names or name in names}


def train_parts(*, processes: int) -> None:
    """Make what the arms are built around, where it is missing; what is finished is taken as is.

    Raises:
        TrainingError: a part failed.
    """
    for recipe in sorted(HERE.parent.glob(PARTS)):
        run = read_recipe(recipe).run
        if (run / DONE).exists():
            continue
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(processes), "-m", "janusflow.cli.main", "train"]
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        finished = subprocess.run([*command, str(recipe)], env=environment, check=False)
        if finished.returncode:
            raise TrainingError(
                f"{run}: training ended with exit code {finished.returncode}, for the reason "
                "above: the same command goes on from the newest checkpoint."
            )


@dataclass(frozen=True, kw_only=True)
class Job:
    """One arm with one seed."""

    arm: str
    seed: int
    recipe: Path
    overrides: tuple[str, ...]
    run: Path
    exam: Exam

    def do(self) -> Measured:
        """Train and measure, as far as that is not done.

        Raises:
            ConfigError: the run was begun, or measured, with other settings.
            TrainingError: training failed.
        """
        run_recipes(self.recipe, self.overrides)
        return measure_run(self.run, read_stage(self.recipe, self.overrides), self.exam)

    def do_logged(self) -> Measured:
        """The same, with all that is told in a file beside the run."""
        self.run.parent.mkdir(parents=True, exist_ok=True)
        with (
            self.log.open("a", encoding="utf-8") as log,
            redirect_stdout(log),
            redirect_stderr(log),
        ):
            return self.do()

    @property
    def log(self) -> Path:
        """Where `do_logged` tells."""
        return self.run.with_suffix(".log")


def jobs_of(options: argparse.Namespace, exam: Exam) -> list[Job]:
    """Every arm with every seed, seed by seed."""
    jobs, limit = [], options.limit_steps
    limited = [f"loop.steps={limit}", f"loop.save_every={-(-limit // 2)}"] if limit else []
    for seed in range(options.seeds):
        for arm, recipe in chosen_arms(options.arms).items():
            run = options.output / arm / f"seed-{seed}"
            overrides = (*options.overrides, f"run={run}", f"loop.seed={seed}", *limited)
            jobs.append(
                Job(arm=arm, seed=seed, recipe=recipe, overrides=overrides, run=run, exam=exam)
            )
    return jobs


def done_in_turn(jobs: Sequence[Job]) -> Iterator[tuple[Job, Measured]]:
    """Do jobs in this process, one after the other."""
    for job in jobs:
        yield job, job.do()


def done_side_by_side(jobs: Sequence[Job], *, at_once: int) -> Iterator[tuple[Job, Measured]]:
    """Do jobs in processes of their own, which share the cores; each is given when it is done.

    Training is 1.06 times as fast so as by sharing a run's steps (benchmarks/notes.md), measuring,
    which is not shared, twice. After a failure no job is begun any more.
    """
    threads = max(1, torch.get_num_threads() // at_once)
    with ProcessPoolExecutor(
        at_once,
        mp_context=get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(threads,),
    ) as pool:
        begun = {pool.submit(job.do_logged): job for job in jobs}
        try:
            for future in as_completed(begun):
                yield begun[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def run_arms(options: argparse.Namespace, exam: Exam) -> Results:
    """Train and measure every arm with every seed."""
    jobs, at_once = jobs_of(options, exam), options.at_once
    if at_once > 1:
        print(f"{len(jobs)} runs, {at_once} at once; follow {jobs[0].log}", file=sys.stderr)
    found: dict[tuple[str, int], Measured] = {}
    for job, measured in (
        done_in_turn(jobs) if at_once == 1 else done_side_by_side(jobs, at_once=at_once)
    ):
        found[job.arm, job.seed] = measured
        print(f"{job.arm}, seed {job.seed}: done ({len(found)} of {len(jobs)})", file=sys.stderr)
    arms = chosen_arms(options.arms)
    return {arm: {seed: found[arm, seed] for seed in range(options.seeds)} for arm in arms}


def write_results(results: Results, options: argparse.Namespace, exam: Exam) -> None:
    """Leave results.json, results.md and the plot in the output folder, and fill the page."""
    settings = {
        "seeds": options.seeds,
        "items": exam.items,
        "drawing steps": exam.steps,
        "guidance": exam.guidance,
        "changed": options.overrides,
        "limited to steps": options.limit_steps,
    }
    found = as_json(results, settings, items=exam.items)
    written = json.dumps(found, indent=2, ensure_ascii=False)
    (options.output / "results.json").write_text(written + "\n", encoding="utf-8")
    told = [f"{options.seeds} seeds, {exam.items} scenes a checkpoint."]
    if options.overrides:
        told += [f"Changed in every arm: `{' '.join(options.overrides)}`."]
    if options.limit_steps:
        told += [f"**Limited to {options.limit_steps} steps, to try the command.**"]
    text = f"{' '.join(told)}\n\n{tables(results, items=exam.items)}\n"
    (options.output / "results.md").write_text(text, encoding="utf-8")
    image = options.output / IMAGE
    if not options.no_plot:
        plot(results, image)
    if options.page is not None:
        fill_page(options.page, text, None if options.no_plot else image)
    print(text)


def fill_page(page: Path, text: str, image: Path | None) -> None:
    """Put results between the marks of a page, and the image into `images/` beside it.

    Raises:
        ConfigError: the page lacks its marks.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ConfigError(f"{page} lacks the lines {BEGIN} and {END}: add them.")
    if image is not None:
        images = page.parent / "images"
        images.mkdir(exist_ok=True)
        shutil.copy(image, images / IMAGE)
        text += f"\n![all measures over steps](images/{IMAGE})\n"
    replace_text(page, f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; a mistake of the user's is one line and exit code 1."""
    options = parse(arguments)
    exam = Exam(items=options.items, steps=options.drawing_steps)
    try:
        if options.page is not None and not options.page.is_file():
            raise ConfigError(f"--page {options.page}: no such file. Name one that has the marks.")
        if not options.no_plot:
            require_matplotlib(options.output / IMAGE)
        train_parts(processes=options.at_once)
        results = run_arms(options, exam)
        require_same_seeds(results)
        write_results(results, options, exam)
    except JanusFlowError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
