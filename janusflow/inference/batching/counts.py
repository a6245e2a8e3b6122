"""What a scheduler has done and has at hand, for whoever watches it."""

from dataclasses import dataclass

from janusflow.inference.batching.image_batcher import ImageBatcher
from janusflow.inference.batching.text_batcher import TextBatcher


@dataclass(frozen=True, kw_only=True)
class Counts:
    """A scheduler at one moment. What is running or waiting goes up and down, the rest only up."""

    running_images: int
    waiting_images: int
    """Asked for, and not begun."""
    running_questions: int
    """Answers that grow side by side; those that write plans are not among them."""
    waiting_questions: int
    steps: int
    """Forwards that images shared."""
    adapter_switches: int
    """Between forwards of requests with different adapters."""
    finished_images: int
    """Decoded, candidates of `best_of` included."""
    prompt_tokens_read: int
    """Of conversations and drawing prompts, those of images included."""
    prompt_tokens_reused: int
    """Not read, because they were read before."""
    tokens_written: int
    """Of answers and plans."""
    images_encoded: int
    """By the understanding tower."""
    images_reused: int
    reuse_bytes: int
    reuse_entries: int
    reuse_hits: int
    reuse_misses: int


def count(
    drawing: ImageBatcher, answering: TextBatcher, *, waiting_images: int, waiting_questions: int
) -> Counts:
    """What two batchers with one reader have done; those who wait are counted elsewhere."""
    reader = drawing.reader
    return Counts(
        running_images=len(drawing.running),
        waiting_images=waiting_images,
        running_questions=answering.num_running,
        waiting_questions=waiting_questions,
        steps=drawing.num_steps,
        adapter_switches=reader.switch.num_switches,
        finished_images=drawing.num_finished,
        prompt_tokens_read=reader.tokens_read,
        prompt_tokens_reused=reader.tokens_reused,
        tokens_written=answering.num_written + drawing.planning.num_written,
        images_encoded=reader.images_encoded,
        images_reused=reader.images_reused,
        reuse_bytes=reader.reuse.num_bytes,
        reuse_entries=len(reader.reuse),
        reuse_hits=reader.reuse.hits,
        reuse_misses=reader.reuse.misses,
    )


@dataclass(frozen=True, kw_only=True)
class BatchInfo:
    """One step of a scheduler."""

    seconds: float
    images: int
    """That were evaluated."""
    answers: int
    """That got tokens."""
