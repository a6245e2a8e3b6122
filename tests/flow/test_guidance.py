"""Guidance: identities at scale 0 and 1, linearity, and one scale per example."""

import torch

from janusflow.flow.guidance import with_guidance

GENERATOR = torch.Generator().manual_seed(0)
X_T = torch.randn(2, 4, 3, 3, generator=GENERATOR)
T = torch.tensor([0.25, 0.75])


def conditional(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.sin(x_t) + t[:, None, None, None]


def unconditional(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.cos(x_t) * t[:, None, None, None]


def both(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The first half of the batch is conditional, the second unconditional."""
    x_conditional, x_unconditional = x_t.chunk(2)
    t_conditional, t_unconditional = t.chunk(2)
    return torch.cat(
        [conditional(x_conditional, t_conditional), unconditional(x_unconditional, t_unconditional)]
    )


def test_scale_1_is_no_guidance():
    assert torch.equal(with_guidance(both, scale=1.0)(X_T, T), conditional(X_T, T))


def test_scale_0_is_the_unconditional_velocity():
    assert torch.equal(with_guidance(both, scale=0.0)(X_T, T), unconditional(X_T, T))


def test_guidance_goes_past_the_condition_by_the_scale():
    start, towards = unconditional(X_T, T), conditional(X_T, T)
    guided = with_guidance(both, scale=3.5)(X_T, T)
    torch.testing.assert_close(guided, start + 3.5 * (towards - start), atol=1e-5, rtol=0)


def test_scale_is_idle_where_the_prompt_says_nothing():
    def indifferent(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return conditional(x_t, t)

    guided = with_guidance(indifferent, scale=2.0)(X_T, T)
    torch.testing.assert_close(guided, conditional(X_T, T), atol=1e-6, rtol=0)


def test_a_tensor_gives_every_example_its_own_scale():
    guided = with_guidance(both, scale=torch.tensor([1.0, 5.0]))(X_T, T)
    assert torch.equal(guided[:1], with_guidance(both, scale=1.0)(X_T, T)[:1])
    assert torch.equal(guided[1:], with_guidance(both, scale=5.0)(X_T, T)[1:])


def test_guidance_keeps_the_dtype_of_the_velocity():
    def in_bfloat16(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return both(x_t, t).to(torch.bfloat16)

    for scale in (2.0, torch.tensor([2.0, 3.0])):
        assert with_guidance(in_bfloat16, scale=scale)(X_T, T).dtype == torch.bfloat16
