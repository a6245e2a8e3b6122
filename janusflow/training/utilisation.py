"""Model FLOPs utilisation (PaLM, arXiv 2204.02311, appendix B): the share of the peak used."""

from collections.abc import Callable, Mapping

from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.training.processes import num_processes

TERA = 10**12

Utilisation = Callable[[Mapping[str, int], float], float]
"""Tally of some steps and the seconds they took -> the share of all devices' peak (MFU)."""


def utilisation_of(
    flops: Callable[[Mapping[str, int]], float], *, peak_tflops: float
) -> Utilisation:
    """MFU of steps whose FLOPs follow from their tally, on devices of this many TFLOP/s each."""

    def share(tally: Mapping[str, int], seconds: float) -> float:
        return flops(tally) / (seconds * peak_tflops * TERA * num_processes())

    return share


def llm_flops(model: JanusFlowForConditionalGeneration) -> Callable[[Mapping[str, int]], float]:
    """FLOPs of some steps by their tokens, of the LLM's weights alone: MFU is at least this.

    Two a parameter and token forwards, two for what comes before, and two where a weight trains;
    attention, towers and VAE are left out.
    """
    llm = model.llm.base_model
    num_all = llm.num_parameters(exclude_embeddings=True)
    num_trained = llm.num_parameters(exclude_embeddings=True, only_trainable=True)
    per_token = 4 * num_all + 2 * num_trained
    return lambda tally: float(per_token * tally["tokens"])
