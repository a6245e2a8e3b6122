"""Ask about an image: one question, several side by side, and a conversation."""

import janusflow

jf = janusflow.load("mini")  # or a folder, or "deepseek-ai/JanusFlow-1.3B"
jf.generate("a red circle left of a blue square", seed=0)[0].save("see.png")

print(jf.ask("see.png", "Describe the picture."))

# Several questions are answered in one batch. An image may be a path, bytes or a PIL image.
questions = ["What colour is the square?", "How many objects are there?", "원은 무슨 색이야?"]
for question, answer in zip(questions, jf.ask("see.png", questions), strict=True):
    print(f"{question} {answer}")

# Messages have OpenAI's shape: any number of images and turns. The answer comes in pieces.
messages = [
    {
        "role": "user",
        "content": [
            {"type": "image_url", "image_url": {"url": "see.png"}},
            {"type": "text", "text": "What is left of the square?"},
        ],
    },
]
for piece in jf.stream(messages, max_new_tokens=64):
    print(piece, end="", flush=True)
print()
