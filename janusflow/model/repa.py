"""The head that aligns LLM features with the understanding encoder's (paper section 3.2)."""

from torch import nn

from janusflow.config.errors import ConfigError
from janusflow.config.model import RepaConfig
from janusflow.model.configuration import JanusFlowConfig


class RepaHead(nn.Sequential):
    """The 3-layer MLP h_phi, LLM features to the understanding encoder's (paper section 3.2)."""

    def __init__(self, in_size: int, out_size: int, config: RepaConfig) -> None:
        super().__init__(
            nn.Linear(in_size, config.hidden_size),
            nn.SiLU(),
            nn.Linear(config.hidden_size, config.hidden_size),
            nn.SiLU(),
            nn.Linear(config.hidden_size, out_size),
        )


def build_repa_head(config: JanusFlowConfig) -> RepaHead | None:
    """The head a configuration asks for, if it asks for one.

    Raises:
        ConfigError: it would read a block that the LLM does not have.
    """
    head = config.repa
    if head is None:
        return None
    num_blocks = config.get_text_config().num_hidden_layers
    if head.block > num_blocks:
        raise ConfigError(
            f"repa.block={head.block} but the LLM has {num_blocks} blocks: use at most that many."
        )
    return RepaHead(config.hidden_size, config.vision_config.hidden_size, head)
