"""Data that travels as npm packages: fetched by name and version, and trusted by checksum only.

The registry is asked over plain HTTPS, so neither node nor npm has to be installed.
"""

import base64
import hashlib
import json
import os
import tarfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from janusflow.config.errors import DataError
from janusflow.config.files import replace_bytes

REGISTRY = "https://registry.npmjs.org"
REGISTRY_SETTING = "npm_config_registry"
"""npm's own environment variable, for a mirror."""
TIMEOUT = 60
"""Seconds without a byte before a download is given up."""
ROOT = "package"
"""Folder that npm puts a package's files under."""


@dataclass(frozen=True, kw_only=True)
class NpmPackage:
    """One version of a package."""

    name: str
    version: str
    integrity: str
    """The registry's own checksum of the file, as `npm view NAME@VERSION dist.integrity` tells."""

    @property
    def file_name(self) -> str:
        """Of the tarball, as the registry calls it: a scope is no part of it."""
        return f"{self.name.rpartition('/')[2]}-{self.version}.tgz"

    @property
    def address(self) -> str:
        """Of the tarball."""
        registry = os.environ.get(REGISTRY_SETTING) or REGISTRY
        return f"{registry.rstrip('/')}/{self.name}/-/{self.file_name}"

    def require(self, content: bytes, *, where: str) -> None:
        """Refuse bytes that are not the package's (subresource integrity, in base64).

        Raises:
            DataError: the checksum is another.
        """
        algorithm, _, wanted = self.integrity.partition("-")
        found = base64.b64encode(hashlib.new(algorithm, content).digest()).decode()
        if found != wanted:
            raise DataError(
                f"{where} has {algorithm} {found}, wanted {wanted} of {self.name}@{self.version}: "
                "delete it and fetch it again; nothing of it is used."
            )


def fetch_package(package: NpmPackage, folder: Path) -> Path:
    """Download a package into `folder` unless it is there; return the file.

    Raises:
        DataError: it cannot be downloaded, or the file is not the one that is meant.
    """
    file = folder / package.file_name
    if file.is_file():
        package.require(file.read_bytes(), where=str(file))
        return file
    try:
        with urllib.request.urlopen(package.address, timeout=TIMEOUT) as answer:
            content = answer.read()
    except (OSError, ValueError) as error:  # URLError is an OSError; an odd address a ValueError
        raise DataError(
            f"cannot download {package.name}@{package.version} from {package.address}: {error}. "
            f"Name a registry in {REGISTRY_SETTING}, or get {package.file_name} on a machine that "
            f"is online (npm pack {package.name}@{package.version}) and put it into {folder}."
        ) from error
    package.require(content, where=package.address)
    folder.mkdir(parents=True, exist_ok=True)
    replace_bytes(file, content)
    return file


def read_member(file: Path, name: str) -> Any:
    """A JSON file out of a package's tarball, e.g. `icons.json`.

    Raises:
        DataError: the tarball has no such file, or it is no JSON.
    """
    try:
        with tarfile.open(file, "r:gz") as archive:
            return json.load(cast(IO[bytes], archive.extractfile(f"{ROOT}/{name}")))
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise DataError(f"{file} holds no readable {name} ({error}): delete it.") from error
