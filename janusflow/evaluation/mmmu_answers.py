"""How MMMU reads answers (Yue et al. 2024; eval_utils.py of github.com/MMMU-Benchmark/MMMU).

One thing is left out: where an answer names no option, the official script draws one at random.
Here nothing is chosen, so that a score does not depend on luck.
"""

import re
from collections.abc import Mapping, Sequence

EDGE_MARKS = ",.!?;:'"
NUM_WORDS_WITH_CONTENT = 6
"""From this many on, an answer without a letter is searched for an option's text."""
WORDS_BEFORE_RESULTS = ("could be", "so", "is", "thus", "therefore", "final", "answer", "result")
BEFORE_RESULTS = tuple(f"{word} " for word in WORDS_BEFORE_RESULTS)
NOTHING = (":", ",", ".", "!", "?", ";", "'")
NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),  # 1,234
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),  # 1.2e-3
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),  # 12.5
)
NUM_DECIMALS = 2


def chosen_option(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter that an answer names last: in brackets, else alone, else by its option's text."""
    for mark in EDGE_MARKS:
        answer = answer.strip(mark)
    answer = f" {answer} "
    bracketed = {letter: answer.rfind(f"({letter})") for letter in options}
    alone = {letter: answer.rfind(f" {letter} ") for letter in options}
    chosen = _last(bracketed) or _last(alone)
    if chosen is None and len(answer.split()) >= NUM_WORDS_WITH_CONTENT:
        return _last({k: answer.lower().rfind(text.lower()) for k, text in options.items()})
    return chosen


def _last(places: Mapping[str, int]) -> str | None:
    found = {letter: place for letter, place in places.items() if place >= 0}
    return max(found, key=found.__getitem__) if found else None


def is_open_right(answer: str, wanted: Sequence[str]) -> bool:
    """Whether an answer holds a wanted text, or a number equal to a wanted one to two decimals."""
    right = [form for text in wanted for form in normalised(text)]
    texts = [form for form in right if isinstance(form, str)]
    return any(
        any(text in said for text in texts) if isinstance(said, str) else said in right
        for said in said_in(answer)
    )


def said_in(answer: str) -> set[str | float]:
    """What an open answer may have meant: the ends of its lines, and the numbers in them."""
    parts = _key_parts(answer)
    numbers = [n for part in parts for pattern in NUMBERS for n in pattern.findall(part)]
    return {form for text in (*parts, *numbers) for form in normalised(text)}


def _key_parts(answer: str) -> list[str]:
    """The shortest end of each line after a word such as "is"; the whole answer if none has one."""
    answer = answer.strip().strip(".").lower()
    # The official script splits at ends of sentences too, by a capital letter that is lower case
    # by then, which is to say never.
    lines = answer.split("\n")
    parts = []
    for number, line in enumerate(lines, start=1):
        words = (*BEFORE_RESULTS, "=") if number == len(lines) else BEFORE_RESULTS
        shortest = ""
        for end in (line.split(word)[-1].strip() for word in words if word in line):
            if not shortest or len(end) < len(shortest):
                shortest = end
        if shortest and shortest not in NOTHING:
            parts.append(shortest)
    return parts or [answer]


def normalised(text: str) -> list[str | float]:
    """A number to two decimals, or the text in lower case; a single letter with a space beside."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), NUM_DECIMALS)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]
