"""Draw and answer with a model in training, for `janusflow train` to show how far it is."""

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image

from janusflow.config.learning.log import LogConfig
from janusflow.inference.pipeline import JanusFlow
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor

IN_TRAINING = "in training"
SEED = 0
MAX_ANSWER_TOKENS = 64


def draw_and_answer(
    model: JanusFlowForConditionalGeneration,
    processor: JanusFlowProcessor,
    vae: AutoencoderKL,
    config: LogConfig,
) -> tuple[list[Image.Image], list[str]]:
    """An image for every prompt, image i from seed i, and the likeliest answers to questions."""
    jf = JanusFlow(model=model, processor=processor, vae=vae, name=IN_TRAINING)
    images = jf.generate(config.prompts, seed=SEED) if config.prompts else []
    answers = [
        jf.ask(asked.image, asked.question, max_new_tokens=MAX_ANSWER_TOKENS)
        for asked in config.questions
    ]
    return images, [str(answer) for answer in answers]
