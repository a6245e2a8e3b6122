"""Objects found in an image: what GenEval asks of a judge, the official one or another."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool
from PIL import Image


class Detection(NamedTuple):
    """An object that was found."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels."""
    score: float
    mask: Bool[np.ndarray, "h w"] | None = None


@runtime_checkable
class ObjectJudge(Protocol):
    """Finds objects by COCO's names, and says which colours they have."""

    def detect(self, picture: Image.Image) -> Mapping[str, Sequence[Detection]]:
        """Everything that may be an object, by name, with its score."""
        ...

    def colours(
        self, picture: Image.Image, objects: Sequence[Detection], name: str
    ) -> Sequence[str]:
        """One colour for each of some objects of a name."""
        ...
