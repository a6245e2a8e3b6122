"""Put a new adapter into a model, to be trained."""

from collections.abc import Sequence

from transformers import PreTrainedModel

from janusflow.config.errors import ConfigError
from janusflow.config.learning.tuning import TuneConfig
from janusflow.tuning.peft_library import quiet_peft, require_peft
from janusflow.tuning.targets import target_modules


def add_adapter(
    model: PreTrainedModel,
    config: TuneConfig,
    *,
    name: str = "default",
    modules_to_save: Sequence[str] = (),
) -> None:
    """Put a new adapter into a model and freeze all else; what it computes stays the same.

    Layers are wrapped in place: the model stays itself and no weight of it is copied, but for
    `modules_to_save`. The adapter's weights are float32, whatever the model's are.

    Args:
        model: the whole model.
        config: which adapter.
        name: what it is called while it is in the model.
        modules_to_save: paths of modules that train in full beside it; copies of them do.

    Raises:
        ConfigError: a name of `config.on` does not fit, or a module is to be both adapted and
            trained in full, or peft is missing, or the model has an adapter of this name.
    """
    targets = target_modules(model, config.on)
    for path in modules_to_save:
        inside = [target for target in targets if f"{target}.".startswith(f"{path}.")]
        if inside:
            raise ConfigError(
                f"{path} is to be trained in full, and tune.on={list(config.on)} adapts "
                f"{len(inside)} layers of it: take it out of one of the two."
            )
    if name in getattr(model, "peft_config", {}):
        raise ConfigError(f"the model has an adapter {name!r} already: give another name.")
    require_peft()
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.tuners_utils import cast_adapter_dtype

    adapter = LoraConfig(
        r=config.rank,
        lora_alpha=config.rank if config.alpha is None else config.alpha,  # pyright: ignore[reportArgumentType]
        lora_dropout=config.dropout,
        target_modules=targets,
        modules_to_save=list(modules_to_save) or None,
        use_dora=config.method == "dora",
    )
    with quiet_peft():
        inject_adapter_in_model(adapter, model, name)
    cast_adapter_dtype(model, name)
