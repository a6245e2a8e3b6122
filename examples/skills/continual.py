"""Skills learnt one after the other, each by an adapter that is merged before the next one.

Twice: alone, and with replay, where the model's own drawings of earlier prompts, and its answers to
earlier questions about them, are learnt beside the new skill. Prints the matrix of what is left of
each skill after each adapter.

Run: python examples/skills/make_data.py
     python examples/skills/continual.py [--output runs/continual] [--steps 300] [--number 40]
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from make_data import DATA
from measure import scores
from skills import QUESTION, SKILLS, Skill, items

import janusflow
from janusflow.mini import knowledge

KNOWN_PROMPTS = 24
"""Captions of mini's own world that are replayed, beside those of earlier skills."""
ARMS = {"alone": False, "with replay": True}


def run(*arguments: object) -> None:
    """Run a command of janusflow as a person would."""
    command = [sys.executable, "-m", "janusflow.cli.main", *map(str, arguments)]
    subprocess.run(command, check=True)


def replayed(earlier: list[Skill]) -> list[str]:
    """Options by which `janusflow tune` keeps what came before."""
    known = knowledge.prompts(KNOWN_PROMPTS, seed=1)
    prompts = [prompt for prompt, _ in known]
    questions = [question for _, asked in known for question in asked]
    for skill in earlier:
        if skill == "palette":
            questions += [QUESTION] * (len(questions) // 2)
        else:
            prompts += [each.words for each in items(skill, 20, seed=0, is_test=False)]
    options = [("--class-prompt", each) for each in prompts]
    options += [("--class-question", each) for each in questions]
    return [word for option in options for word in option]


def learn(skill: Skill, model: str, folder: Path, *, steps: int, options: list[str]) -> str:
    """Train an adapter of a skill, merge it, and give the folder of the merged model."""
    tune = ("tune", DATA / skill, "--model", model, "-o", folder, "--steps", steps, "--quiet")
    run(*tune, *options)
    merged = folder / "merged"
    if not merged.exists():
        run("convert", model, merged, "--adapter", folder)
    return str(merged)


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown: a line after each adapter."""
    names = [*next(iter(rows.values()))]
    lines = [["after", *names], ["---"] * (1 + len(names))]
    lines += [[after, *(f"{row[name]:.0%}" for name in names)] for after, row in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Run both arms; what is there already is not made again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/continual"))
    parser.add_argument("--steps", type=int, default=300, help="of training, a skill")
    parser.add_argument("--images", type=int, default=96, help="drawings that are replayed")
    parser.add_argument("--arm", choices=ARMS, action="append", help="one of the two")
    parser.add_argument("--number", type=int, default=40, help="of items of each kind")
    said = parser.parse_args()
    before = scores(janusflow.load("mini"), said.number)
    for arm in said.arm or ARMS:
        model, rows = "mini", {"mini": before}
        for place, skill in enumerate(SKILLS):
            kept = ["--num-class-images", str(said.images if ARMS[arm] else 0)]
            if ARMS[arm]:
                kept += replayed(list(SKILLS[:place]))
            folder = said.output / arm.replace(" ", "-") / f"{place + 1}-{skill}"
            model = learn(skill, model, folder, steps=said.steps, options=kept)
            rows[skill] = scores(janusflow.load(model), said.number)
            report = said.output / f"{arm.replace(' ', '-')}.json"
            report.write_text(json.dumps(rows, indent=1))
        print(f"\n{arm}\n\n{table(rows)}", flush=True)


if __name__ == "__main__":
    main()
