"""What a scheduler has done and has at hand, for whoever watches it."""

from dataclasses import dataclass


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


@dataclass(frozen=True, kw_only=True)
class BatchInfo:
    """One step of a scheduler."""

    seconds: float
    images: int
    """That were evaluated."""
    answers: int
    """That got tokens."""
