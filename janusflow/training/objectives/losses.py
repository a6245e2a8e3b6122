"""The paper's three losses (section 3.2) and what may stand for the third.

All but the cross entropy, whose tokens are of two kinds, are sums over what they are about. What a
step minimises are means over all of the step, which no single batch of it can take: the loop
divides (loop.py).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, normalize


def response_loss(logits: Float[Tensor, "n v"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """L_AR: cross entropy in nats of every learnt token; logits are those before each."""
    return cross_entropy(logits.float(), labels, reduction="none")


def velocity_loss(
    predicted: Float[Tensor, "b c y x"], velocity: Float[Tensor, "b c y x"]
) -> Float[Tensor, ""]:
    """L_RF: squared error of the velocity, summed over all latent values."""
    return (predicted.float() - velocity).square().sum()


def alignment_loss(
    predicted: Float[Tensor, "*shape w"], features: Float[Tensor, "*shape w"]
) -> Float[Tensor, ""]:
    """L_REPA: minus the cosine similarity, summed over patches; the features are a constant."""
    return -cosine_similarity(predicted.float(), features.detach().float(), dim=-1).sum()


def contrastive_loss(
    predicted: Float[Tensor, "b p w"], features: Float[Tensor, "b p w"], *, temperature: float
) -> Float[Tensor, ""]:
    """InfoNCE (van den Oord et al. 2018): every patch finds its own features, summed over patches.

    It looks among the patches of its own picture only: with those of other pictures the loss would
    depend on how a step is split. The features are a constant.
    """
    targets = normalize(features.detach().float(), dim=-1)
    similarities = normalize(predicted.float(), dim=-1) @ targets.mT / temperature
    own = torch.arange(similarities.shape[-1], device=similarities.device)
    return cross_entropy(similarities.mT, own.expand(len(similarities), -1), reduction="sum")
