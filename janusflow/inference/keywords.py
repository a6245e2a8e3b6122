"""Arguments of other libraries, and the names they have here."""

from collections.abc import Mapping

ONE_SIZE = "a model draws the one size that it was trained for: scale or crop the image"
GENERATE_NAMES: Mapping[str, str] = {
    "num_inference_steps": "it is steps here",
    "num_steps": "it is steps here",
    "guidance_scale": "it is guidance here",
    "cfg_scale": "it is guidance here",
    "cfg": "it is guidance here",
    "num_images_per_prompt": "it is num_images here",
    "n": "it is num_images here",
    "generator": "it is seed here, a number",
    "manual_seed": "it is seed here",
    "callback": "it is on_step here",
    "callback_on_step_end": "it is on_step here",
    "callback_on_step_end_tensor_inputs": "on_step is told of every tensor",
    "image": "it is init_image here",
    "mask_image": "it is mask here",
    "denoising_strength": "it is strength here",
    "scheduler": "it is solver here",
    "sampler": "it is solver here",
    "timesteps": "use steps, grid and shift",
    "sigmas": "use steps, grid and shift",
    "latents": "noise comes from seed, and init_image gives another start",
    "output_type": "images are PIL images: numpy.asarray(image) gives their pixels",
    "return_dict": "a list of images is returned",
    "height": ONE_SIZE,
    "width": ONE_SIZE,
    "size": ONE_SIZE,
    "prompt_embeds": "prompts are words",
    "negative_prompt_embeds": "prompts are words",
}
"""Names of diffusers and others, and what `JanusFlow.generate` has for them."""
