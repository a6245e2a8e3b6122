"""Settings of the log: what makes no sense is refused by name."""

from typing import Any

import pytest

from janusflow.config.errors import ConfigError
from janusflow.config.learning.log import LogConfig, ReportConfig
from janusflow.config.records import build_record


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"to": ["wand"]}, "log: to is 'wand': wanted one of tensorboard, wandb, trackio"),
        ({"to": "wandb"}, "wanted a list"),
        ({"samples_evry": 3}, "did you mean samples_every?"),
        ({"samples_every": -1}, "samples_every=-1 must be 0 or more"),
        ({"peak_tflops": 0}, "peak_tflops=0.0 must be above 0"),
        ({"peak_tflops": float("inf")}, "peak_tflops=inf must be above 0"),
        ({"questions": [{"image": "a.png"}]}, "lacks question"),
        ({"questions": [{"image": "a.png", "questoin": "What?"}]}, "did you mean question?"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(tree: dict[str, Any], told: str):
    with pytest.raises(ConfigError) as caught:
        build_record(LogConfig, tree, where="log")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"samples_every": -1}, "samples_every=-1 must be 0 or more"),
        ({"prompts": ["red"]}, "unknown key 'prompts' in log: known: to, project"),
        ({"questions": []}, "unknown key 'questions' in log: known: to, project, samples_every"),
        ({"peak_tflops": 1}, "unknown key 'peak_tflops' in log"),
    ],
)
def test_what_only_a_stage_can_show_is_refused_elsewhere(tree: dict[str, Any], told: str):
    with pytest.raises(ConfigError) as caught:
        build_record(ReportConfig, tree, where="log")
    assert told in str(caught.value)
