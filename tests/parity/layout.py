"""Names, shapes, values and settings of the release's checkpoint, in both directions."""

import json

import torch
from check import EXACT, Check, Measure, error, mismatch
from reference import Reference

from janusflow.interop.conversion import official_shapes, shapes_of, to_official, to_ours
from janusflow.interop.release_config import config_to_official
from janusflow.model.configuration import JanusFlowConfig


def layout_checks(reference: Reference) -> list[Check]:
    def check(quantity: str, measure: Measure, tolerance: float = EXACT) -> Check:
        return Check(group="layout", quantity=quantity, tolerance=tolerance, measure=measure)

    return [
        check("full model: names and shapes", lambda: _full_names(reference)),
        check("full model: config.json there and back", lambda: _full_settings(reference)),
        check("small model: names and shapes", lambda: _small_names(reference)),
        check("small model: weights there and back", lambda: _round_trip(reference)),
        check("small model: weight_checks", lambda: _weight_checks(reference), 1e-3),
    ]


def _full_names(reference: Reference) -> float:
    model = reference.without_weights(reference.json("official_config.json"), {})
    found = official_shapes(shapes_of(model))
    return mismatch(found, _shapes(reference.json("official_state_dict.json")))


def _small_names(reference: Reference) -> float:
    model = reference.small
    found = official_shapes(shapes_of(model))
    return mismatch(found, _shapes(reference.json("small_state_dict.json")))


def _shapes(recorded: dict) -> dict[str, tuple[int, ...]]:
    """The full model's list has [shape, dtype], the small one's the shape."""
    return {
        name: tuple(entry[0] if entry and isinstance(entry[0], list) else entry)
        for name, entry in recorded.items()
    }


def _full_settings(reference: Reference) -> float:
    settings = reference.json("official_config.json")
    config = reference.without_weights(settings, {}).config
    reread = JanusFlowConfig.from_dict(json.loads(config.to_json_string()))
    return max(mismatch(config_to_official(saved), settings) for saved in (config, reread))


def _round_trip(reference: Reference) -> float:
    """Release -> ours -> release -> ours, equal at both ends to the last bit."""
    model = reference.small
    official = to_official(model.state_dict())
    wanted = {name: reference.weight(name, tuple(t.shape)) for name, t in official.items()}
    ours = model.state_dict()
    again = to_ours(official)
    return mismatch(
        [name for name in wanted if not torch.equal(official[name], wanted[name])]
        + [name for name in ours if not torch.equal(again[name], ours[name])],
        [],
    )


def _weight_checks(reference: Reference) -> float:
    """The first values and the sum of a few weights, as recorded when the set was made."""
    official = to_official(reference.small.state_dict())
    return max(
        error(
            torch.tensor([*official[name].flatten()[: len(first)].tolist(), _sum(official[name])]),
            torch.tensor([*first, total]),
        )
        for name, (first, total) in reference.meta["weight_checks"].items()
    )


def _sum(tensor: torch.Tensor) -> float:
    return float(tensor.double().sum())
