"""How images are made larger, in words."""

import pytest

from janusflow.config.errors import ConfigError
from janusflow.config.upscaling import KNOWN, Upscaling, read_upscaling


@pytest.mark.parametrize("known", KNOWN)
def test_what_is_written_is_read_back(known: Upscaling):
    assert read_upscaling(known.text) == known


def test_none_is_none():
    assert read_upscaling("none") is None


@pytest.mark.parametrize("text", ["", "lanczos", "lanczos:1", "refine:4", "lanczos:2:2", "magic:2"])
def test_other_words_are_refused_with_all_that_there_is(text: str):
    with pytest.raises(ConfigError, match=rf"upscale='{text}' is unknown.*realesrgan:2\|3\|4"):
        read_upscaling(text)
