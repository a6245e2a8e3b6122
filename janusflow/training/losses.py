"""The paper's three losses (section 3.2), each a mean over what it is about."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from janusflow.data.collate import IGNORED


def response_loss(logits: Float[Tensor, "b t v"], labels: Int[Tensor, "b t"]) -> Float[Tensor, ""]:
    """L_AR: next-token cross entropy over the labelled tokens, in nats a token."""
    return cross_entropy(
        logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
    )


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
