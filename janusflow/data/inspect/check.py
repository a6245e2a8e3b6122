"""Go through the rows of a source as training would, and say what is wrong with them.

Every row is made a sample and laid out by the very code that training uses, all with the same
choices: of several captions each row shows the same one, and rows that hold the same make the same
sample.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from janusflow.data.batches.collate import Collator
from janusflow.data.batches.mixture import Kind
from janusflow.data.samples import GenerationSample, Sample, TextSample, UnderstandingSample
from janusflow.data.sources.base import BAD_ROW_ERRORS, Source, Stream
from janusflow.data.sources.order import shuffled

LENGTH_SHARES = {"min": 0.0, "median": 0.5, "95%": 0.95, "max": 1.0}


@dataclass(kw_only=True)
class SourceReport:
    """What was found in one source."""

    kind: Kind
    name: str
    max_bad_share: float
    not_opened: str | None = None
    """Why the source could not be opened, if so."""
    num_rows: int | None = 0
    """None if the source is streamed and did not come to its end."""
    num_checked: int = 0
    bad: dict[int, str] = field(default_factory=dict)
    """Row -> why it makes no sample."""
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """Columns and rows of each image, in pixels, as its file has them."""
    lengths: list[int] = field(default_factory=list)
    """Tokens of each good row."""
    cut: list[int] = field(default_factory=list)
    """Rows that lost the end of their text or their last turns."""
    repeated: list[list[int]] = field(default_factory=list)
    """Rows that make the same words and images, together."""

    @property
    def bad_share(self) -> float:
        """Of the rows checked."""
        return len(self.bad) / max(1, self.num_checked)

    @property
    def is_refused(self) -> bool:
        """Whether training could not start on it, or might stop because of it."""
        return self.not_opened is not None or self.bad_share > self.max_bad_share

    @property
    def num_duplicates(self) -> int:
        """Rows that repeat an earlier one."""
        return sum(len(rows) - 1 for rows in self.repeated)

    def facts(self) -> dict[str, Any]:
        """All of it in plain values, lists of images and lengths summed up."""
        by_area = sorted(self.sizes, key=lambda size: size[0] * size[1])
        quantiles = np.quantile(self.lengths, [*LENGTH_SHARES.values()]) if self.lengths else []
        return {
            "kind": self.kind,
            "source": self.name,
            "not_opened": self.not_opened,
            "rows": self.num_rows,
            "checked": self.num_checked,
            "good": self.num_checked - len(self.bad),
            "bad": [{"row": row, "why": why} for row, why in self.bad.items()],
            "bad_share": self.bad_share,
            "max_bad_share": self.max_bad_share,
            "images": len(self.sizes),
            "smallest_image": by_area[0] if by_area else None,
            "median_image": by_area[len(by_area) // 2] if by_area else None,
            "largest_image": by_area[-1] if by_area else None,
            "tokens": {name: round(q) for name, q in zip(LENGTH_SHARES, quantiles, strict=False)},
            "cut": self.cut,
            "duplicates": self.num_duplicates,
            "repeated": self.repeated,
            "is_refused": self.is_refused,
        }


def chosen_rows(num_rows: int, limit: int | None) -> Sequence[int]:
    """All rows, or `limit` of them spread at random; in the file's order."""
    if limit is None or limit >= num_rows:
        return range(num_rows)
    return sorted(shuffled(number, num_rows, seed=0) for number in range(limit))


def check_source(
    source: Source | Stream,
    rows: Iterable[int],
    collate: Collator,
    report: SourceReport,
    sizes: list[Any],
) -> None:
    """Make every row a sample and lay it out; what is found goes into the report.

    Args:
        sizes: where the source's preparation notes those of images it opens; stays empty for
            sources that have images in memory, whose sizes are those of their samples.
    """
    seen: dict[bytes, list[int]] = defaultdict(list)
    for row in rows:
        sizes.clear()
        report.num_checked += 1
        try:
            sample, tokens = collate.build(source.sample(row, np.random.default_rng(0)))
        except BAD_ROW_ERRORS as error:
            report.bad[row] = " ".join(str(error).split())
            continue
        report.sizes += sizes or [(each.shape[2], each.shape[1]) for each in number_images(sample)]
        report.lengths.append(len(tokens))
        if tokens.is_cut:
            report.cut.append(row)
        seen[_digest(sample)].append(row)
    report.repeated += [same for same in seen.values() if len(same) > 1]


def number_images(sample: Sample) -> tuple[Float[Tensor, "c y x"], ...]:
    """A sample's images, as the model gets them."""
    match sample:
        case UnderstandingSample():
            return sample.images
        case GenerationSample():
            assert sample.pixel_values is not None, "caches are for training"
            return (sample.pixel_values,)
        case TextSample():
            return ()


def _digest(sample: Sample) -> bytes:
    """16 bytes that samples of the same words and images share."""
    match sample:
        case UnderstandingSample():
            words = repr((sample.system, sample.turns))
        case GenerationSample():
            words = sample.prompt
        case TextSample():
            words = sample.text
    digest = blake2b(words.encode("utf-8", "surrogatepass"), digest_size=16)
    for image in number_images(sample):
        digest.update(image.contiguous().numpy().tobytes())
    return digest.digest()
