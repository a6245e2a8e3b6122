"""Changed data are noticed when a run goes on, and the files are named."""

from pathlib import Path

import pytest

from janusflow.config.data import SourceConfig
from janusflow.config.errors import DataError
from janusflow.data.sources.fingerprint import PROBED, fingerprint, require_same_data


@pytest.fixture
def source(tmp_path: Path) -> SourceConfig:
    (tmp_path / "shards").mkdir()
    for number in range(5):
        (tmp_path / "shards" / f"{number}.txt").write_text(f"number {number}\n" * PROBED)
    (tmp_path / "answers.json").write_text("{}")
    options = {"answers": str(tmp_path / "answers.json"), "streaming": True}
    return SourceConfig(format="text", path=f"{tmp_path}/shards/*.txt", options=options)


def go_on(source: SourceConfig, tmp_path: Path, *, is_begun: bool = True) -> None:
    kept = tmp_path / "run" / "data.json"
    require_same_data(kept, fingerprint([source]), is_begun=is_begun)


def test_a_run_goes_on_with_the_same_data_also_if_they_were_copied(
    source: SourceConfig, tmp_path: Path
):
    go_on(source, tmp_path, is_begun=False)
    for file in (tmp_path / "shards").iterdir():
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
    go_on(source, tmp_path)


@pytest.mark.parametrize("place", [0, -1])
def test_what_changed_is_named_with_what_to_do(source: SourceConfig, tmp_path: Path, place: int):
    go_on(source, tmp_path, is_begun=False)
    shards = tmp_path / "shards"
    content = bytearray((shards / "3.txt").read_bytes())
    content[place] ^= 1
    (shards / "3.txt").write_bytes(content)
    (shards / "0.txt").rename(shards / "7.txt")
    (tmp_path / "answers.json").write_text("[]")
    told = rf"new: {shards}/7\.txt; gone: {shards}/0\.txt; changed: {shards}/3\.txt, {tmp_path}/ans"
    with pytest.raises(DataError, match=told) as error:
        go_on(source, tmp_path)
    assert "\n" not in str(error.value)
    assert "put the files back, or start in another run=FOLDER" in str(error.value)


def test_many_changes_are_counted(source: SourceConfig, tmp_path: Path):
    go_on(source, tmp_path, is_begun=False)
    for number in range(10, 30):
        (tmp_path / "shards" / f"{number}.txt").write_text("more")
    with pytest.raises(DataError, match="and 17 more") as error:
        go_on(source, tmp_path)
    assert len(str(error.value)) < 1000


def test_a_run_that_has_learnt_nothing_takes_other_data(source: SourceConfig, tmp_path: Path):
    go_on(source, tmp_path, is_begun=False)
    (tmp_path / "shards" / "9.txt").write_text("more")
    go_on(source, tmp_path, is_begun=False)
    go_on(source, tmp_path)


def test_a_file_more_in_a_folder_is_noticed(tmp_path: Path):
    source = SourceConfig(format="captions", path=str(tmp_path / "images"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").write_bytes(b"x")
    go_on(source, tmp_path, is_begun=False)
    (tmp_path / "images" / "1.png").write_bytes(b"x")
    with pytest.raises(DataError, match=f"changed: {tmp_path}/images"):
        go_on(source, tmp_path)
