"""The tasks and data formats that only the recipe of `mini` needs, told to the general trainer."""

from functools import partial

from tqdm import tqdm

from janusflow.data.sources.formats import register_format
from janusflow.data.wheels import fetch_wheel
from janusflow.mini.scenes.dataset import write_scenes
from janusflow.mini.training.easy_vqa import PACKAGE, easy_vqa_questions
from janusflow.mini.training.recipes import (
    EasyVqaRecipe,
    ScenesRecipe,
    SiglipRecipe,
    TokenizerRecipe,
    VaeRecipe,
)
from janusflow.mini.training.runners import train_siglip, train_vae
from janusflow.mini.training.sources import (
    SceneLookups,
    ScenePlans,
    ScenePrompts,
    SceneTexts,
    scene_drawings,
    scene_questions,
    unrendered,
)
from janusflow.mini.training.tokenizer import mini_processor, train_tokenizer
from janusflow.training.recipes import register_task


def register() -> None:
    """Make the tasks of recipes/mini and the formats of its data known."""
    register_task("scenes", ScenesRecipe, _scenes)
    register_task("easy_vqa", EasyVqaRecipe, _easy_vqa)
    register_task("tokenizer", TokenizerRecipe, _tokenizer)
    register_task("vae", VaeRecipe, train_vae, is_distributed=True)
    register_task("siglip", SiglipRecipe, train_siglip, is_distributed=True)
    register_format(
        "scenes",
        {
            "understanding": scene_questions,
            "generation": scene_drawings,
            "text": partial(unrendered, SceneTexts),
        },
    )
    register_format("scene-lookups", {"understanding": partial(unrendered, SceneLookups)})
    register_format("scene-plans", {"understanding": partial(unrendered, ScenePlans)})
    register_format("scene-prompts", {"generation": partial(unrendered, ScenePrompts)})
    register_format("easy-vqa", {"understanding": easy_vqa_questions})


def _scenes(recipe: ScenesRecipe) -> None:
    write_scenes(
        recipe.run,
        num_scenes=recipe.num_scenes,
        size=recipe.size,
        seed=recipe.seed,
        progress=tqdm,
    )


def _easy_vqa(recipe: EasyVqaRecipe) -> None:
    fetch_wheel(PACKAGE, recipe.run)


def _tokenizer(recipe: TokenizerRecipe) -> None:
    tokenizer = train_tokenizer(
        vocab_size=recipe.vocab_size, num_texts=recipe.num_texts, seed=recipe.seed
    )
    mini_processor(
        tokenizer, image_size=recipe.image_size, num_image_tokens=recipe.num_image_tokens
    ).save_pretrained(recipe.run)
