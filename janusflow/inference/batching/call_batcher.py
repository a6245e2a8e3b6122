"""Short functions that touch the model, between the steps of images and answers.

Knows nothing of threads: one thread adds functions and makes steps.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from janusflow.inference.batching.adapter_switch import AdapterSet, AdapterSwitch
from janusflow.inference.batching.requests import Handle, failing


@dataclass(eq=False, repr=False, kw_only=True)
class CallRequest(Handle[Any]):
    """A function, and the future of what it gives."""

    function: Callable[[], Any]
    adapters: AdapterSet = ()
    """On while it runs."""

    def __post_init__(self) -> None:
        super().__init__()


class CallBatcher:
    """Functions, first come, first served, one a step."""

    def __init__(self, switch: AdapterSwitch) -> None:
        self.switch = switch
        self.waiting: deque[CallRequest] = deque()

    @property
    def handles(self) -> list[Handle[Any]]:
        """All requests."""
        return [*self.waiting]

    def step(self) -> int:
        """Call the first function that is still wanted; how many were called."""
        while self.waiting:
            request = self.waiting.popleft()
            if not request.done():
                with failing(request):
                    self.switch.turn(request.adapters)
                    result = request.function()
                    request.progress = 1.0
                    request.set_result(result)
                return 1
        return 0
