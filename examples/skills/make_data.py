"""Pictures and questions to learn from, into data/skills/: a folder a skill, and one of two.

Run: python examples/skills/make_data.py [FOLDER]
"""

import json
import sys
from pathlib import Path

from skills import QUESTION, SKILLS, Skill, items

DATA = Path("data/skills")
NUMBER: dict[Skill, int] = {"house": 20, "outlined": 20, "palette": 400}
BOTH: tuple[Skill, ...] = ("house", "palette")


def write(folder: Path, skills: tuple[Skill, ...]) -> None:
    """Write pictures: those of drawn skills with a .txt, of others with a row of questions.json."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for skill in skills:
        for index, item in enumerate(items(skill, NUMBER[skill], seed=0, is_test=False)):
            file = folder / f"{skill}-{index:03d}.png"
            item.image.save(file)
            if skill != "palette":
                file.with_suffix(".txt").write_text(item.words + "\n")
                continue
            said = (("human", f"<image>\n{QUESTION}"), ("gpt", item.words))
            turns = [{"from": who, "value": words} for who, words in said]
            rows.append({"image": file.name, "conversations": turns})
    if rows:
        (folder / "questions.json").write_text(json.dumps(rows))
    print(f"{folder}: {sum(NUMBER[skill] for skill in skills)} pictures")


def main(folder: Path = DATA) -> None:
    """Write every folder."""
    for skill in SKILLS:
        write(folder / skill, (skill,))
    write(folder / "both", BOTH)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
