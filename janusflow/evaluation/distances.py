"""How far two sets of pictures are apart: FID and KID, computed by torchmetrics on features."""

import warnings
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from janusflow.config.errors import ConfigError

NUM_SUBSETS, SUBSET_SIZE = 100, 1000
"""Of KID, as in clean-fid: the mean over this many random subsets of both sets."""


class _AsTheyAre(nn.Module):
    """Stands for torchmetrics' feature network where features are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(drawn: Float[Tensor, "n d"], reference: Float[Tensor, "m d"]) -> float:
    """The squared Frechet distance of the Gaussians through two sets (Heusel et al. 2017).

    It falls with the number of pictures for the same model: compare at equal numbers only.
    """
    metric = require_torchmetrics().image.fid.FrechetInceptionDistance
    filled = _filled(metric(feature=_AsTheyAre(drawn.shape[1])), drawn, reference)
    return max(float(filled.compute()), 0.0)  # below 0 by rounding only


def kernel_distance(drawn: Float[Tensor, "n d"], reference: Float[Tensor, "m d"]) -> float:
    """The unbiased squared MMD with a cubic kernel (Binkowski et al. 2018), mean over subsets.

    The same for the same sets: subsets are drawn by a seed of their own.
    """
    metric = require_torchmetrics().image.kid.KernelInceptionDistance
    size = min(SUBSET_SIZE, len(drawn), len(reference))
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)  # it keeps all features, which are there
        torch.manual_seed(0)
        empty = metric(feature=_AsTheyAre(drawn.shape[1]), subsets=NUM_SUBSETS, subset_size=size)
        return float(_filled(empty, drawn, reference).compute()[0])


def require_torchmetrics() -> Any:
    """Import torchmetrics.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import torchmetrics
        import torchmetrics.image.fid
        import torchmetrics.image.kid
    except ImportError as error:
        raise ConfigError(
            f"FID and KID need torchmetrics ({error}): pip install 'janusflow[evaluation]'."
        ) from None
    return torchmetrics


def _filled(metric: Any, drawn: Tensor, reference: Tensor) -> Any:
    metric.update(reference.double(), real=True)
    metric.update(drawn.double(), real=False)
    return metric
