"""Edit an image: vary it, draw a part of it anew, or change one thing by inversion."""

from PIL import Image, ImageDraw

import janusflow

jf = janusflow.load("mini")
before = "a red circle in the bottom left and a blue square on the right"
image = jf.generate(before, seed=3, plan="never")[0]
image.save("edit-0-before.png")

# A variation starts at t = 1 - strength of the path: small strengths stay close to the image.
jf.generate(before, init_image=image, strength=0.6, seed=5)[0].save("edit-1-variation.png")

# White parts of the mask are drawn anew. The pixels under black parts stay as they are.
mask = Image.new("L", image.size, "black")
ImageDraw.Draw(mask).rectangle((jf.image_size // 2, 0, jf.image_size, jf.image_size), fill="white")
after = "a red circle in the bottom left and a green star on the right"
jf.generate(after, init_image=image, mask=mask, seed=1)[0].save("edit-2-mask.png")

# Inversion follows the ODE backwards to the image's own noise, then forwards with other words.
# What the words do not say, such as the background, may change.
after = "a green circle in the bottom left and a blue square on the right"
inverted = jf.generate(after, init_image=image, invert=before, solver="heun", steps=15)[0]
inverted.save("edit-3-inversion.png")
