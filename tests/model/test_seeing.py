"""Claims about the understanding half: what an image becomes, and what the LLM makes of it."""

import pytest
import torch
from tiny_model import IMAGE_SIZE, padded_prompt, tiny_config, tiny_model
from torch import Tensor

from janusflow.config.errors import PromptError
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration

NUM_PATCHES = (IMAGE_SIZE // 16) ** 2
CONFIG = tiny_config()
BOS, PAD = CONFIG.bos_token_id, CONFIG.pad_token_id
IMAGE, START, END = (
    CONFIG.image_token_id,
    CONFIG.image_start_token_id,
    CONFIG.image_end_token_id,
)
IMAGE_SPAN = [START, *[IMAGE] * NUM_PATCHES, END]


def images(num: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)


def ids(*tokens: int) -> Tensor:
    return torch.tensor([list(tokens)])


@torch.no_grad()
def test_an_image_is_begin_of_understanding_and_its_patches(
    model: JanusFlowForConditionalGeneration,
):
    embeds = model.embed_images(model.image_features(images(2)))
    assert embeds.shape == (2, 1 + NUM_PATCHES, model.config.hidden_size)
    assert torch.equal(embeds[:, 0], model.begin_of_understanding.expand(2, -1))
    features = model.understanding_encoder(images(2)).last_hidden_state
    torch.testing.assert_close(embeds[:, 1:], model.understanding_aligner(features))


@torch.no_grad()
def test_images_take_their_positions_in_reading_order(
    model: JanusFlowForConditionalGeneration,
):
    tokens = ids(BOS, *IMAGE_SPAN, 40, *IMAGE_SPAN, 41)
    embeds = model.embed_conversation(tokens, images(2))[0]
    table = model.llm.get_input_embeddings()
    seen = model.embed_images(model.image_features(images(2)))
    first, second = slice(1, 2 + NUM_PATCHES), slice(4 + NUM_PATCHES, 5 + 2 * NUM_PATCHES)
    torch.testing.assert_close(embeds[first], seen[0])
    torch.testing.assert_close(embeds[second], seen[1])
    # The end tag and the words keep their own embeddings.
    for position in (0, 2 + NUM_PATCHES, 3 + NUM_PATCHES, -2, -1):
        assert torch.equal(embeds[position], table(tokens[0, position]))


def test_the_callers_tokens_are_not_changed(model: JanusFlowForConditionalGeneration):
    tokens = ids(BOS, *IMAGE_SPAN)
    before = tokens.clone()
    model.embed_conversation(tokens, images(1))
    assert torch.equal(tokens, before)


@pytest.mark.parametrize(
    ("tokens", "num_images"),
    [
        ((BOS, *IMAGE_SPAN), 0),
        ((BOS, *IMAGE_SPAN), 2),
        ((BOS, 40), 1),
        ((BOS, *IMAGE_SPAN, START), 1),
    ],
)
def test_images_that_do_not_fit_the_tokens_are_refused(
    model: JanusFlowForConditionalGeneration, tokens: tuple[int, ...], num_images: int
):
    given = images(num_images) if num_images else None
    with pytest.raises(PromptError, match=f"{num_images * (1 + NUM_PATCHES)} image embeddings"):
        model.embed_conversation(ids(*tokens), given)


@torch.no_grad()
def test_reading_text_is_transformers_own_call(model: JanusFlowForConditionalGeneration):
    tokens = ids(BOS, 40, 41, 42, 43)
    own = model.llm(input_ids=tokens).logits
    torch.testing.assert_close(model(tokens).logits, own)


@torch.no_grad()
def test_reading_embeddings_is_transformers_own_call_with_its_own_positions(
    model: JanusFlowForConditionalGeneration,
):
    """Left-padded, with an image; transformers derives positions from the mask in generate."""
    tokens = torch.tensor([[PAD, PAD, BOS, *IMAGE_SPAN, 40]])
    mask = (tokens != PAD).long()
    embeds = model.embed_conversation(tokens, images(1))
    ours = model(inputs_embeds=embeds, attention_mask=mask).logits[0, -1]
    own = model.llm.generate(
        inputs_embeds=embeds,
        attention_mask=mask,
        max_new_tokens=1,
        do_sample=False,
        pad_token_id=PAD,
        return_dict_in_generate=True,
        output_logits=True,
    )
    torch.testing.assert_close(ours, own.logits[0][0])
    assert int(own.sequences[0, -1]) == int(ours.argmax())


@torch.no_grad()
def test_a_batch_says_what_its_rows_say_alone(model: JanusFlowForConditionalGeneration):
    """Different lengths, one row with two images, one with one, one with none."""
    rows = [
        [BOS, *IMAGE_SPAN, 40, *IMAGE_SPAN, 41],
        [BOS, 42, *IMAGE_SPAN, 43, 44],
        [BOS, 45, 46],
    ]
    seen = images(3)
    length = max(len(row) for row in rows)
    tokens = torch.tensor([[PAD] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    together = model(tokens, attention_mask=mask, pixel_values=seen).logits
    for row, given, index in zip(rows, (seen[:2], seen[2:], None), range(3), strict=True):
        alone = model(torch.tensor([row]), pixel_values=given).logits[0]
        torch.testing.assert_close(together[index, -len(row) :], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_an_image_changes_the_answer_and_padding_does_not(
    model: JanusFlowForConditionalGeneration,
):
    tokens = ids(BOS, *IMAGE_SPAN, 40)
    one = model(tokens, pixel_values=images(1)).logits[0, -1]
    other = model(tokens, pixel_values=images(1, seed=5)).logits[0, -1]
    assert (one - other).abs().max() > 1e-3
    padded = torch.cat([torch.full((1, 3), PAD), tokens], dim=1)
    mask = (torch.arange(padded.shape[1]) >= 3).long()[None]
    again = model(padded, attention_mask=mask, pixel_values=images(1)).logits[0, -1]
    torch.testing.assert_close(again, one, atol=1e-5, rtol=1e-5)


def test_the_loss_is_cross_entropy_on_the_next_token():
    model = tiny_model()
    tokens = ids(BOS, 40, 41, 42)
    output = model(tokens, labels=tokens)
    log_probabilities = output.logits[0, :-1].log_softmax(-1)
    expected = -log_probabilities[torch.arange(3), tokens[0, 1:]].mean()
    torch.testing.assert_close(output.loss, expected)


def test_begin_of_understanding_learns():
    """Unlike the release, where it is detached."""
    model = tiny_model()
    tokens = ids(BOS, *IMAGE_SPAN, 40)
    model(tokens, pixel_values=images(1), labels=tokens).loss.backward()
    assert model.begin_of_understanding.grad is not None
    assert float(model.begin_of_understanding.grad.abs().max()) > 0


def latent_model(understanding_input: str) -> JanusFlowForConditionalGeneration:
    config = tiny_config()
    torch.manual_seed(0)
    return JanusFlowForConditionalGeneration(
        JanusFlowConfig(**{**config.to_dict(), "understanding_input": understanding_input})
    )


@pytest.mark.parametrize(
    ("understanding_input", "own", "other"),
    [
        ("shared", "generation_encoder", "latent_encoder"),
        ("separate", "latent_encoder", "generation_encoder"),
    ],
)
def test_latents_are_seen_as_points_of_time_one_through_the_chosen_encoder(
    understanding_input: str, own: str, other: str
):
    """The tower has no part in it, and neither has the other encoder."""
    model = latent_model(understanding_input)
    latents = torch.randn(2, 4, 8, 8)
    embeds = model.embed_images(model.image_features(latents))
    features = model.get_submodule(own)(latents, torch.ones(2)).features
    expected = model.understanding_aligner(features.flatten(2).mT)
    torch.testing.assert_close(embeds[:, 1:], expected)
    assert torch.equal(embeds[:, 0], model.begin_of_understanding.expand(2, -1))
    embeds.square().sum().backward()
    moved = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None}
    assert moved == {own, "begin_of_understanding", "understanding_aligner"}
    assert (model.latent_encoder is None) == (other == "latent_encoder")


@torch.no_grad()
def test_drawing_does_not_depend_on_what_is_seen_through():
    """The same weights draw the same: seeing has its aligner to itself."""
    x_t, t = torch.randn(1, 4, 8, 8), torch.tensor([0.3])
    prompt = padded_prompt([[BOS, 40, 41]], pad_token_id=PAD)
    tower, separate = latent_model("tower"), latent_model("separate")
    shared_names = {n: v for n, v in tower.state_dict().items() if "understanding_al" not in n}
    separate.load_state_dict(shared_names, strict=False)
    torch.testing.assert_close(separate.velocity(x_t, t, prompt), tower.velocity(x_t, t, prompt))
