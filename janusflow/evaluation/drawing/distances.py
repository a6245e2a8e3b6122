"""How far two sets of images are apart, by features of them: Frechet (FID) and kernel (KID)."""

import numpy as np
from jaxtyping import Float

NUM_SUBSETS, SUBSET_SIZE = 100, 1000
"""Of KID, as in clean-fid: the mean over this many random subsets of both sets."""


def frechet_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """The squared Frechet distance of the Gaussians through two sets (Heusel et al. 2017).

    |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), A and B the covariances; in float64. At least
    two images a set have one. It falls with the number of images, for the covariances of two small
    samples differ even where their sources agree: compare at equal numbers only. Compared with
    mseitzer/pytorch-fid@b9c1811: equal to 1e-9 of the value on random sets.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    offset = a.mean(0) - b.mean(0)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0.0))) @ vectors.T
    # A^(1/2) B A^(1/2) is symmetric and has the eigenvalues of A B.
    shared = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0.0)).sum()
    return float(offset @ offset + np.trace(first) + np.trace(second) - 2.0 * shared)


def kernel_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """The unbiased squared MMD with a cubic kernel (Binkowski et al. 2018), mean over subsets.

    The same for the same sets: subsets are drawn by a seed of their own.
    """
    rng = np.random.default_rng(0)
    size = min(SUBSET_SIZE, len(a), len(b))
    distances = []
    for _ in range(NUM_SUBSETS):
        x, y = (
            each[rng.choice(len(each), size, replace=False)].astype(np.float64) for each in (a, b)
        )
        within = [_kernel(each, each) for each in (x, y)]
        pairs = sum(kernel.sum() - np.trace(kernel) for kernel in within) / (size * (size - 1))
        distances.append(pairs - 2.0 * _kernel(x, y).mean())
    return float(np.mean(distances))


def _kernel(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    return (x @ y.T / x.shape[1] + 1.0) ** 3
