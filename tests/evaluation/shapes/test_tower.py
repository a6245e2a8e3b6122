"""Features are of each image alone, survive being kept, and tell true images from wrong ones."""

import numpy as np

from janusflow.evaluation.drawing.distances import frechet_distance
from janusflow.evaluation.shapes.prompts import shape_prompts
from janusflow.evaluation.shapes.tower import Tower, as_text, from_texts
from janusflow.mini.scenes.render import render


def test_features_are_of_each_image_alone_and_stay_when_kept():
    tower = Tower()
    images = [render(prompt.scene) for prompt in shape_prompts("two", 5, seed=1)]
    together = tower.features(images)
    for image, features in zip(images, together, strict=True):
        np.testing.assert_allclose(tower.features([image])[0], features, atol=1e-4)
    kept = from_texts([as_text(features) for features in together])
    np.testing.assert_allclose(kept, together, rtol=2**-10, atol=1e-6)
    assert tower.fingerprint == Tower().fingerprint


def test_wrong_images_are_further_than_true_ones_drawn_anew():
    tower, rng = Tower(), np.random.default_rng(0)
    asked = shape_prompts("single", 30, seed=1)
    truth, anew, others = (
        tower.features([render(prompt.scene) for prompt in some])
        for some in (
            asked,
            [prompt.arranged_anew(rng) for prompt in asked],
            shape_prompts("counting", 30, seed=1),
        )
    )
    assert frechet_distance(anew, truth) < frechet_distance(others, truth)
