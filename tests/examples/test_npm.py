"""Packages from a registry in a folder: fetched once, trusted by checksum, refused in one line."""

from dataclasses import replace
from pathlib import Path

import pytest
from make_emoji_data import PACKAGES
from npm_packages import REGISTRY_SETTING, NpmPackage, fetch_package, read_member
from npm_registry import publish

from janusflow.config.errors import DataError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NpmPackage:
    monkeypatch.setenv(REGISTRY_SETTING, (tmp_path / "registry").as_uri())
    return publish(tmp_path / "registry", "@scope/things", {"deep/things.json": {"a": [1, "é"]}})


def test_a_package_is_fetched_once_and_read(package: NpmPackage, tmp_path: Path):
    file = fetch_package(package, tmp_path / "kept")
    assert read_member(file, "deep/things.json") == {"a": [1, "é"]}
    (tmp_path / "registry").rename(tmp_path / "gone")
    assert fetch_package(package, tmp_path / "kept") == file
    assert [path.name for path in file.parent.iterdir()] == ["things-1.0.0.tgz"]


def test_an_address_is_the_registrys_own_form(monkeypatch: pytest.MonkeyPatch):
    """As `npm view NAME@VERSION dist.tarball` tells it."""
    monkeypatch.delenv(REGISTRY_SETTING, raising=False)
    addresses = [package.address for package in PACKAGES]
    assert addresses[0] == ("https://registry.npmjs.org/emojibase-data/-/emojibase-data-17.0.0.tgz")
    assert addresses[3] == "https://registry.npmjs.org/@iconify-json/noto/-/noto-1.2.9.tgz"


def test_other_bytes_are_refused_and_not_kept(package: NpmPackage, tmp_path: Path):
    other = replace(package, integrity="sha512-AAAA")
    with pytest.raises(DataError, match=r"wanted AAAA of @scope/things@1\.0\.0") as refused:
        fetch_package(other, tmp_path / "kept")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "kept").exists()


def test_a_damaged_file_that_was_kept_is_refused(package: NpmPackage, tmp_path: Path):
    file = fetch_package(package, tmp_path / "kept")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match="delete it and fetch it again"):
        fetch_package(package, tmp_path / "kept")


def test_a_failed_download_says_what_to_do(package: NpmPackage, tmp_path: Path):
    missing = replace(package, version="2.0.0")
    with pytest.raises(DataError, match=r"npm pack @scope/things@2\.0\.0") as refused:
        fetch_package(missing, tmp_path / "kept")
    assert REGISTRY_SETTING in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_member_that_is_not_there_is_named(package: NpmPackage, tmp_path: Path):
    with pytest.raises(DataError, match=r"no readable icons\.json"):
        read_member(fetch_package(package, tmp_path / "kept"), "icons.json")
