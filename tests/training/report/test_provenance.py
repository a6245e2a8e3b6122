"""What a run was started with is written down, with git or without."""

import json
import subprocess
from pathlib import Path

import pytest
import torch

from janusflow.training.report import provenance as module
from janusflow.training.report.provenance import ENVIRONMENT, git_state, record_environment


def git(folder: Path, *arguments: str) -> str:
    name = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(
        ["git", "-C", str(folder), *name, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_commit_is_named_and_whether_files_differ_from_it(tmp_path: Path):
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_state(tmp_path) == {"commit": commit, "is_dirty": False}
    (tmp_path / "file").write_text("two")
    assert git_state(tmp_path) == {"commit": commit, "is_dirty": True}


def test_a_folder_without_git_or_a_machine_without_it_has_no_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None


def test_every_start_adds_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for command in ("one", "two words"):
        monkeypatch.setattr(module.sys, "argv", ["/bin/janusflow", "train", command])
        record_environment(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / ENVIRONMENT).read_text().splitlines()]
    assert [line["command"] for line in lines] == [
        "janusflow train one",
        "janusflow train 'two words'",
    ]
    assert lines[0]["packages"]["torch"] == torch.__version__
    assert (lines[0]["num_processes"], lines[0]["device"]) == (1, "cpu")
