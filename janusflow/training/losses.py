"""The paper's three losses (section 3.2), each summed over what it is about.

What a step minimises are means over all of the step, which no single batch of it can take: the loop
divides (loop.py).
"""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy


def response_loss(logits: Float[Tensor, "n v"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """L_AR: cross entropy in nats, summed over the learnt tokens; logits are those before each."""
    return cross_entropy(logits.float(), labels, reduction="sum")


def velocity_loss(
    predicted: Float[Tensor, "b c y x"], velocity: Float[Tensor, "b c y x"]
) -> Float[Tensor, ""]:
    """L_RF: squared error of the velocity, summed over all latent values."""
    return (predicted.float() - velocity).square().sum()


def alignment_loss(
    predicted: Float[Tensor, "b p w"], features: Float[Tensor, "b p w"]
) -> Float[Tensor, ""]:
    """L_REPA: minus the cosine similarity, summed over patches; the features are a constant."""
    return -cosine_similarity(predicted.float(), features.detach().float(), dim=-1).sum()
