"""How far two sets of images are apart, by features of them."""

import numpy as np
from jaxtyping import Float


def frechet_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """The squared Frechet distance of the Gaussians through two sets (Heusel et al. 2017).

    |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), A and B the covariances; in float64. At least
    two images a set have one. It falls with the number of images, for the covariances of two small
    samples differ even where their sources agree: compare at equal numbers only.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    offset = a.mean(0) - b.mean(0)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0.0))) @ vectors.T
    # A^(1/2) B A^(1/2) is symmetric and has the eigenvalues of A B.
    shared = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0.0)).sum()
    return float(offset @ offset + np.trace(first) + np.trace(second) - 2.0 * shared)
