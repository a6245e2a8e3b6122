"""Settings of adapters refuse what cannot be meant."""

from typing import Any

import pytest

from janusflow.config.errors import ConfigError
from janusflow.config.learning.tuning import TuneConfig
from janusflow.config.records import build_record


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rank": 0}, "rank=0"),
        ({"rank": -4}, "rank=-4"),
        ({"alpha": 0.0}, "tune.alpha=0.0: wanted a number above 0, or null"),
        ({"alpha": "inf"}, "tune.alpha=inf"),
        ({"dropout": 1.0}, r"tune.dropout=1.0: wanted a share in \[0, 1\)"),
        ({"dropout": -0.1}, "tune.dropout=-0.1"),
        ({"on": []}, "name what to adapt"),
        ({"method": "loha"}, "tune.method=loha: wanted lora or dora"),
        ({"method": "prompt"}, "tune.method=prompt .*drawing does not pass through.*: wanted lora"),
        (
            {"base_precision": "int8"},
            "=int8 .*no gradient.*: wanted fp32 or bf16",
        ),
        ({"ranks": 8}, "did you mean rank"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, Any], told: str):
    with pytest.raises(ConfigError, match=told):
        build_record(TuneConfig, settings, where="tune")


def test_an_empty_section_is_an_adapter_of_both_halves():
    assert {name.split(".")[0] for name in build_record(TuneConfig, {}, where="tune").on} == {
        "llm",
        "generation",
        "aligners",
    }
