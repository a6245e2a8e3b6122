"""What tests of the benchmark share: a size that loads at once, a side that computes nothing."""

import numpy as np

from janusflow.benchmark.cases import Outputs, Request, Watch
from janusflow.benchmark.weights import Size

TINY = Size(
    llm_layers=1,
    tower_layers=1,
    vocabulary=4096,
    llm_width=64,
    llm_inner_width=128,
    llm_heads=4,
    path_width=32,
    picture_size=64,
    vae_widths=(32, 32, 32, 32),
    prompt_tokens=24,
)


class FakeSide:
    """Gives what it was asked."""

    def load(self, request: Request, watch: Watch) -> Outputs:
        with watch:
            return {}

    def velocity(self, request: Request, watch: Watch) -> Outputs:
        with watch:
            return {"velocity": np.full(request.batch, 0.5)}

    picture = velocity

    def ask(self, request: Request, watch: Watch) -> Outputs:
        with watch:
            for _ in range(request.new_tokens):
                watch.lap()
        return {"token_ids": np.arange(request.new_tokens)}
