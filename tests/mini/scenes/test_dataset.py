"""Scenes on disk: what is read is what was rendered, and an unfinished folder is refused."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from janusflow.config.errors import DataError
from janusflow.mini.scenes.dataset import Progress, SceneFolder, write_scenes
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import composition, is_held_out, position, sample_scene

SEED = 5


def stop_at(index: int) -> Progress:
    def progress(indices: Iterable[int]) -> Iterator[int]:
        for each in indices:
            if each == index:
                raise KeyboardInterrupt
            yield each

    return progress


def test_images_and_labels_are_those_of_their_scenes(tmp_path: Path):
    """Coordinates come back to the last bit, images to the byte."""
    write_scenes(tmp_path, num_scenes=8, size=32, seed=SEED)
    folder = SceneFolder(tmp_path)
    assert len(folder) == 8
    for index in range(8):
        scene = sample_scene(np.random.default_rng((SEED, index)))
        assert folder.scene(index) == scene
        image = folder.image(index)
        assert (image.mode, image.size) == ("RGB", (32, 32))
        assert image.tobytes() == render(scene, size=32).tobytes()


def test_a_scene_depends_on_seed_and_number_only(tmp_path: Path):
    write_scenes(tmp_path / "few", num_scenes=2, size=32, seed=SEED)
    write_scenes(tmp_path / "many", num_scenes=4, size=32, seed=SEED)
    write_scenes(tmp_path / "other", num_scenes=2, size=32, seed=SEED + 1)
    few, many, other = (SceneFolder(tmp_path / name) for name in ("few", "many", "other"))
    assert [few.scene(i) for i in (0, 1)] == [many.scene(i) for i in (0, 1)]
    assert few.scene(0) != other.scene(0)


def test_no_training_scene_is_a_held_out_composition(tmp_path: Path):
    """One in eight would be, if nobody looked."""
    write_scenes(tmp_path, num_scenes=150, size=16, seed=SEED)
    folder = SceneFolder(tmp_path)
    assert not any(is_held_out(composition(folder.scene(i))) for i in range(len(folder)))


@pytest.mark.parametrize("is_second_time", [False, True])
def test_an_unfinished_folder_is_refused(tmp_path: Path, is_second_time: bool):
    """Also if it was complete before and is being rendered again."""
    if is_second_time:
        write_scenes(tmp_path, num_scenes=3, size=16, seed=SEED)
    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path, num_scenes=3, size=16, seed=SEED, progress=stop_at(2))
    with pytest.raises(DataError, match=r"no rendered scenes in .*run the recipe"):
        SceneFolder(tmp_path)
    write_scenes(tmp_path, num_scenes=3, size=16, seed=SEED)
    assert len(SceneFolder(tmp_path)) == 3


def test_scenes_are_sorted_by_their_number_of_objects(tmp_path: Path):
    write_scenes(tmp_path, num_scenes=30, size=16, seed=SEED)
    folder = SceneFolder(tmp_path)
    groups = folder.by_count()
    assert sorted(np.concatenate(groups).tolist()) == list(range(30))
    for count, group in enumerate(groups, start=1):
        assert all(len(folder.scene(index).objects) == count for index in group.tolist())


def test_scenes_may_be_those_of_some_shapes_alone(tmp_path: Path):
    """Pairs of two shapes out of nine are few; a third shape beside them shuts a scene out."""
    write_scenes(tmp_path, num_scenes=60, size=16, seed=SEED)
    folder = SceneFolder(tmp_path)
    wanted = {"circle", "star", "ring", "heart"}
    kept = np.concatenate(folder.by_count(tuple(wanted))).tolist()
    shapes = [{thing.shape for thing in folder.scene(index).objects} for index in range(60)]
    assert sorted(kept) == [index for index in range(60) if shapes[index] <= wanted]
    assert any(shapes[index] & wanted and not shapes[index] <= wanted for index in range(60))


def test_scenes_are_placed_where_words_can_say_where_each_object_is(tmp_path: Path):
    write_scenes(tmp_path, num_scenes=60, size=8, seed=SEED)
    folder = SceneFolder(tmp_path)
    wanted = [all(map(position, folder.scene(i).objects)) for i in range(60)]
    assert folder.are_placed().tolist() == wanted
    assert 0 < sum(wanted) < 60
