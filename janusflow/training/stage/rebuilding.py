"""The model of a stage once more, with the weights it has learnt so far."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from janusflow.config.recipes import StageRecipe
from janusflow.interop.load import complete, filled_model, on_meta, place
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.training.stage.freezing import set_trainable


def rebuilt(
    recipe: StageRecipe,
    config: JanusFlowConfig,
    weights: Mapping[str, Tensor],
    *,
    device: torch.device | str = "cpu",
) -> JanusFlowForConditionalGeneration:
    """A model of its own with the weights of one in training.

    With an adapter these weights are its weights, not copies: the frozen ones are large, and
    nobody writes to them.
    """
    if recipe.tune is None:
        return filled_model(config, weights, device=device)
    model = on_meta(copy.deepcopy(config))
    with torch.device("meta"):
        set_trainable(model, recipe)
    for name, tensor in weights.items():
        place(model, name, tensor.to(device))
    complete(model, device)
    return model.requires_grad_(False)
