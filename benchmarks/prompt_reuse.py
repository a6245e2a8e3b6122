"""What a scheduler saves by not reading again: ten questions about an image, and ten that differ.

Run: OMP_NUM_THREADS=1 python benchmarks/prompt_reuse.py [--model mini] [--repeats 5]
"""

import argparse
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import janusflow
from janusflow.inference.answering.chat import question_message
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.batching.scheduler import DEFAULT_REUSE_BYTES, StepScheduler
from janusflow.inference.speed import random_images

QUESTIONS = 10
FIRST_TOKEN = AnsweringSettings(max_new_tokens=1)


def ask_all(jf: Any, images: Sequence[Any], reuse_bytes: int) -> tuple[float, StepScheduler]:
    """Seconds until every question has its first token."""
    scheduler = StepScheduler(jf, reuse_bytes=reuse_bytes)
    start = time.perf_counter()
    for number, image in enumerate(images):
        asked = [question_message([image], f"Question {number}: what is in the image?")]
        scheduler.submit_question(asked, settings=FIRST_TOKEN)
    scheduler.run_until_idle()
    return time.perf_counter() - start, scheduler


def main() -> None:
    """Print seconds, forwards of the tower and tokens read of each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    jf = janusflow.load(options.model)
    images = random_images(QUESTIONS, seed=0)
    cases = {"one image": images[:1] * QUESTIONS, "images that differ": images}
    ask_all(jf, images, 0)
    seconds: dict[tuple[str, int], list[float]] = {}
    last: dict[tuple[str, int], StepScheduler] = {}
    for _ in range(options.repeats):
        for name, shown in cases.items():
            for reuse_bytes in (0, DEFAULT_REUSE_BYTES):
                taken, last[name, reuse_bytes] = ask_all(jf, shown, reuse_bytes)
                seconds.setdefault((name, reuse_bytes), []).append(taken)
    for (name, reuse_bytes), taken in seconds.items():
        counts = last[name, reuse_bytes].counts
        print(
            f"{QUESTIONS} questions, {name}, {'reuse' if reuse_bytes else 'no reuse'}: "
            f"{median(taken):.3f} s, {counts.images_encoded} images encoded, "
            f"{counts.prompt_tokens_read} tokens read, {counts.reuse_bytes / 1e6:.1f} MB kept"
        )


if __name__ == "__main__":
    main()
