"""The page's solvers and its pixels are the package's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from janusflow.flow import GRIDS, SOLVERS, VelocityQuery, combine, run_sampler, solve, time_grid
from janusflow.processing.images import JanusFlowImageProcessor, to_images

Node = Callable[..., Any]
FIXED = ["euler", "midpoint", "heun", "rk4"]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("steps", "start"), [(1, 0.0), (30, 0.0), (30, 0.4), (7, 0.99)])
def test_times_are_the_same_numbers(node: Node, grid: str, steps: int, start: float):
    found = node(
        "flow.js", "m.timeGrid(data.steps, data)", {"steps": steps, "grid": grid, "start": start}
    )
    expected = time_grid(steps, grid=grid, start=start)
    own = torch.tensor(found, dtype=torch.float32)
    torch.testing.assert_close(own, expected, atol=6e-8, rtol=0)


@pytest.mark.parametrize("solver", FIXED)
def test_a_path_is_walked_in_the_same_steps(node: Node, solver: str):
    """Under a velocity that depends on state and time: v = cos(3t) - x, guided by 2 from itself."""
    noise = torch.randn(1, 40, generator=torch.Generator().manual_seed(0))

    def velocity(query: VelocityQuery) -> Tensor:
        conditional = torch.cos(torch.tensor(3 * query.t)) - query.x_t
        return combine(torch.cat([conditional, 0.5 * query.x_t]), scale=2.0)

    expected = run_sampler(solve(noise, times=time_grid(9), solver=solver), velocity)
    tableau = SOLVERS[solver]
    found = node(
        "flow.js",
        """(async () => {
            const seen = [];
            const velocity = async (x, t) =>
                m.guided(x.map((v) => Math.cos(3 * t) - v), x.map((v) => 0.5 * v), 2);
            const how = { times: m.timeGrid(9), tableau: data.tableau };
            const x = await m.solve(Float32Array.from(data.noise), velocity, how,
                async (step) => seen.push([step.index, step.steps]));
            return { x: [...x], seen };
        })()""",
        {
            "noise": noise[0].tolist(),
            "tableau": {"a": tableau.a, "b": tableau.b, "c": tableau.c},
        },
    )
    torch.testing.assert_close(torch.tensor(found["x"]), expected[0], atol=2e-6, rtol=0)
    assert found["seen"] == [[index, 9] for index in range(9)]


@pytest.mark.parametrize(
    "size", [(64, 64), (200, 120), (90, 170), (640, 1), (30, 17), (65, 63), (3, 5)]
)
def test_an_image_is_prepared_to_the_byte(node: Node, size: tuple[int, int]):
    """At most twice as high as wide: taller ones Pillow 13 resizes in another order."""
    width, height = size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    processor = JanusFlowImageProcessor(
        image_size=64, min_size=1, image_mean=(0.5, 0.4, 0.3), image_std=(0.5, 0.2, 0.3)
    )
    expected = processor(Image.fromarray(pixels))["pixel_values"][0]
    how = {
        "image_size": 64,
        "min_size": 1,
        "background": processor.background_color,
        "rescale_factor": processor.rescale_factor,
        "mean": list(processor.image_mean),
        "std": list(processor.image_std),
    }
    image = {"width": width, "height": height, "data": pixels.flatten().tolist()}
    found = node(
        "images.js",
        """[...m.pixelValues(m.fitSquare(
            { ...data.image, data: Uint8Array.from(data.image.data) }, data.how), data.how)]""",
        {"image": image, "how": how},
    )
    torch.testing.assert_close(
        torch.tensor(found).reshape(expected.shape), expected, atol=1e-6, rtol=0
    )


def test_levels_are_clipped_and_rounded_as_torch_does(node: Node):
    """Halves too, which go to the even number."""
    halves = (torch.arange(256) + 0.5) / 255 * 2 - 1
    decoded = torch.cat([halves, torch.linspace(-1.2, 1.2, 512)])[:768].reshape(1, 3, 16, 16)
    (expected,) = to_images(decoded)
    found = node(
        "images.js",
        "[...m.toImage(Float32Array.from(data), 16).data]",
        decoded.flatten().tolist(),
    )
    assert found == np.asarray(expected).flatten().tolist()
