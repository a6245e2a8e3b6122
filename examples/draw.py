"""Draw images: several prompts, settings, the steps on the way, and the same image again."""

from PIL import Image, ImageChops

import janusflow

jf = janusflow.load("mini")

# Two images of each prompt, drawn side by side. Image i has seed + i.
images = jf.generate(["a red circle", "파란 별 두 개"], num_images=2, seed=1)
for index, image in enumerate(images):
    image.save(f"draw-{index}.png")  # prompt, plan, seed and settings are kept in the file
    print(f"draw-{index}.png has seed {image.info['seed']}, drawn as: {image.info['plan']}")

# After each step: where the path would end if it went straight on from here.
previews: list[Image.Image] = []
jf.generate(
    "a green triangle above a yellow star",
    seed=3,
    steps=8,
    solver="heun",  # two evaluations a step, and nearer to the exact path than euler
    guidance="3@0-0.6",  # weight 3 up to t = 0.6, none after it
    on_step=lambda step: previews.append(step.preview[0]),
)
strip = Image.new("RGB", (len(previews) * jf.image_size, jf.image_size))
for index, preview in enumerate(previews):
    strip.paste(preview, (index * jf.image_size, 0))
strip.save("draw-steps.png")

# What the file remembers draws the same image, to the rounding of sums: here it is drawn alone.
again = jf.generate("a red circle", seed=int(images[0].info["seed"]))[0]
apart = max(most for _, most in ImageChops.difference(again, images[0]).getextrema())
print(f"drawn again: levels differ by {apart} at most")
