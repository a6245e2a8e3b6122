"""The paper's three losses (section 3.2), each summed over what it is about.

What a step minimises are means over all of the step, which no single batch of it can take: the loop
divides (loop.py).
"""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from janusflow.data.collate import IGNORED


def response_loss(logits: Float[Tensor, "b t v"], labels: Int[Tensor, "b t"]) -> Float[Tensor, ""]:
    """L_AR: next-token cross entropy, in nats, summed over the labelled tokens."""
    return cross_entropy(
        logits[:, :-1].float().flatten(0, 1),
        labels[:, 1:].flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )


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
