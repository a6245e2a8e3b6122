"""What all request bodies have in common: fields of OpenAI that are honoured, accepted or refused.

A field that would change the result and that is not supported is refused by name; others are
accepted, since clients send many that say nothing about the result.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator

from janusflow.serving.errors import ApiError

LIKE_ENOUGH = 0.8
"""How alike a name is to one that is meant: temprature, temperature."""


class Body(BaseModel):
    """A JSON body. Fields that are not declared are looked up in `refused`."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    refused: ClassVar[Mapping[str, Sequence[Any]]] = {}
    """Names of fields, each with the values that change nothing; others are refused."""
    accepted: ClassVar[Sequence[str]] = ()
    """Names of fields that change nothing, whatever they say."""

    @model_validator(mode="after")
    def check_others(self) -> "Body":
        """Refuse what would change the result."""
        known = [*type(self).model_fields, *self.refused, *self.accepted]
        for name, value in (self.model_extra or {}).items():
            if name in self.refused:
                if value is not None and value not in self.refused[name]:
                    raise unsupported(name, value)
            elif name not in known and (close := get_close_matches(name, known, 1, LIKE_ENOUGH)):
                raise ApiError(
                    400,
                    f"{name} is unknown: use {close[0]} if you meant that, or leave it out.",
                    param=name,
                    code="unknown_parameter",
                )
        return self


def unsupported(name: str, value: object) -> ApiError:
    """A field that this server cannot honour."""
    if name == "extra_body":
        why = "it is an argument of the openai client: put its fields beside the others"
    else:
        why = "this model does not support it, leave it out"
    return ApiError(400, f"{name}={value!r:.80}: {why}.", param=name, code="unsupported_parameter")
