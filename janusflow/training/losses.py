"""The paper's three losses (section 3.2), each a mean over what it is about."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy


def response_loss(
    logits: Float[Tensor, "n v"], next_tokens: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """L_AR: next-token cross entropy over the tokens to be learnt, in nats a token."""
    return cross_entropy(logits.float(), next_tokens)


def velocity_loss(
    predicted: Float[Tensor, "b c y x"], velocity: Float[Tensor, "b c y x"]
) -> Float[Tensor, ""]:
    """L_RF: mean squared error of the velocity over all latent values."""
    return (predicted.float() - velocity).square().mean()


def alignment_loss(
    predicted: Float[Tensor, "b p w"], features: Float[Tensor, "b p w"]
) -> Float[Tensor, ""]:
    """L_REPA: minus the mean cosine similarity; the features are a constant target."""
    return -cosine_similarity(predicted.float(), features.detach().float(), dim=-1).mean()
