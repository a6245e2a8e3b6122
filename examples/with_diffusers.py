"""JanusFlow as a pipeline of diffusers: its arguments, a scheduler of its own, and callbacks."""

import torch
from diffusers import FlowMatchHeunDiscreteScheduler

from janusflow import JanusFlowPipeline

pipe = JanusFlowPipeline.from_pretrained("mini")
prompt = "a red circle in the top left and a blue star on the right"

generator = torch.Generator().manual_seed(1)
drawn = pipe(prompt, num_inference_steps=30, guidance_scale=2.0, generator=generator)
drawn.images[0].save("diffusers-euler.png")


def tell(_pipe: JanusFlowPipeline, step: int, _timestep: float, tensors: dict) -> dict:
    """What diffusers calls after each step; it may change the latents."""
    print(f"step {step}, latents of standard deviation {tensors['latents'].std():.2f}")
    return tensors


# Another of diffusers' flow matching schedulers takes the place of Euler's method.
pipe.scheduler = FlowMatchHeunDiscreteScheduler()
generator = torch.Generator().manual_seed(1)
drawn = pipe(prompt, num_inference_steps=10, generator=generator, callback_on_step_end=tell)
drawn.images[0].save("diffusers-heun.png")
