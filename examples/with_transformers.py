"""JanusFlow as a model of transformers: Auto classes, `generate`, and a pipeline."""

from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline

import janusflow  # also registers the Auto classes

jf = janusflow.load("mini")
jf.generate("three orange diamonds", seed=0)[0].save("transformers.png")
jf.save_pretrained("transformers-model")  # a folder or a hub id is what transformers reads

model = AutoModelForImageTextToText.from_pretrained("transformers-model")
processor = AutoProcessor.from_pretrained("transformers-model")
messages = [
    {
        "role": "user",
        "content": [
            {"type": "image", "path": "transformers.png"},
            {"type": "text", "text": "Describe the picture."},
        ],
    }
]
inputs = processor.apply_chat_template(
    messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
ids = model.generate(**inputs, max_new_tokens=64, num_beams=2)  # all of its options
answer = processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
print("generate:", answer)

ask = pipeline("image-text-to-text", model=model, processor=processor)
print("pipeline:", ask(text=messages, max_new_tokens=64, return_full_text=False)[0])
