"""Short answers compared with those of ten people: the accuracies of VQA and of TextVQA.

Both normalise texts alike and differ in their punctuation and in what is done to people's answers:
VQAv2 follows vqaEval.py of github.com/GT-Vision-Lab/VQA (Antol et al. 2015), TextVQA follows
m4c_evaluators.py of MMF (Singh et al. 2019), which is EvalAI's.
"""

import re
from collections.abc import Sequence

VQA_PUNCTUATION = ";:/'[]\"()=+\\_><@`,?"
TEXTVQA_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
NUMBER_WORDS = "zero one two three four five six seven eight nine ten"
NUMBERS = {word: str(n) for n, word in enumerate(NUMBER_WORDS.split())} | {"none": "0"}
ARTICLES = {"a", "an", "the"}
COMMA_IN_NUMBER = re.compile(r"\d,\d")
PERIOD = re.compile(r"\.(?!\d)")

CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's they'd
they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't
would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
CONTRACTIONS = {
    word[:i] + word[i + 1 :]: word
    for word in CONTRACTED.split()
    for i, letter in enumerate(word)
    if letter == "'"
} | {"somebody'd": "somebodyd"}
"""A word that lacks one apostrophe, mended. The last one is the official table's own slip; its
entries with a capital letter are left out, for words are in lower case by then."""


def vqa_accuracy(answer: str, people: Sequence[str]) -> float:
    """VQAv2's: people's answers lose their punctuation, and only where they differ."""
    given = _words(_unpunctuated(_one_line(answer), VQA_PUNCTUATION))
    if len(set(people)) > 1:
        people = [_unpunctuated(text, VQA_PUNCTUATION) for text in people]
    return soft_accuracy(given, people)


def textvqa_accuracy(answer: str, people: Sequence[str]) -> float:
    """TextVQA's: all answers are normalised alike."""
    return soft_accuracy(_as_evalai(answer), [_as_evalai(text) for text in people])


def soft_accuracy(answer: str, people: Sequence[str]) -> float:
    """The mean of min(1, matches / 3) over all ways of leaving one person out."""
    matches = [text == answer for text in people]
    return sum(min(1.0, (sum(matches) - match) / 3) for match in matches) / len(people)


def _as_evalai(text: str) -> str:
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return _words(_unpunctuated(_one_line(text), TEXTVQA_PUNCTUATION))


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _unpunctuated(text: str, marks: str) -> str:
    """Without marks: those beside a space vanish, others become one; periods before no digit go."""
    has_comma_in_number = COMMA_IN_NUMBER.search(text) is not None
    bare = text
    for mark in marks:
        vanishes = has_comma_in_number or f"{mark} " in text or f" {mark}" in text
        bare = bare.replace(mark, "" if vanishes else " ")
    return PERIOD.sub("", bare)


def _words(text: str) -> str:
    """Lower case, numbers as digits, no articles, contractions with their apostrophes."""
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)
