"""transformers' own tests, out of the source distribution of the transformers that is installed.

`find_suite` downloads it by name and makes its `tests` folder importable as `transformers_tests`.
The distribution lacks four modules that its tests import; what stands in for them says why.
"""

import importlib.util
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import numpy as np
import transformers
from PIL import Image

CACHE = Path(__file__).parents[3] / ".peers"
PACKAGE = "transformers_tests"


class ExportTesterMixin:
    """Stands in for transformers' tests of its exporters: tests/model has ours."""


class GenerationTesterMixin:
    """Stands in for transformers' tests of `generate`: tests/peers/test_generate.py has ours."""


def find_suite() -> None:
    """Make `transformers_tests` importable, downloading it at the first time."""
    folder = CACHE / f"transformers-{transformers.__version__}"
    if not (folder / PACKAGE).is_dir():
        _unpack(_download(CACHE), folder)
    sys.path[:0] = [str(folder), str(_download_parameterized(CACHE / "packages"))]
    # Ahead of the imports that want them; their names are transformers'.
    _stand_in(f"{PACKAGE}.exporters.test_export", ExportTesterMixin=ExportTesterMixin)
    _stand_in(f"{PACKAGE}.generation.test_utils", GenerationTesterMixin=GenerationTesterMixin)
    # Only read for configurations without parts; ours has some.
    _stand_in(f"{PACKAGE}.utils.test_configuration_utils", config_common_kwargs={})
    _stand_in("fetch_hub_objects_for_ci", url_to_local_path=_local_image)


def _download(folder: Path) -> Path:
    """The source distribution; pip asks its build system for its name, hence the time it takes."""
    wanted = f"transformers=={transformers.__version__}"
    print(f"downloading the source distribution of {wanted}", file=sys.stderr)
    _pip("download", "--no-deps", "--no-binary", "transformers", "--dest", str(folder), wanted)
    return folder / f"transformers-{transformers.__version__}.tar.gz"


def _download_parameterized(folder: Path) -> Path:
    """What the tests need and our developers do not, beside the environment instead of in it."""
    if not (folder / "parameterized").is_dir():
        _pip("install", "--no-deps", "--target", str(folder), "parameterized>=0.9")
    return folder


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True)


def _unpack(archive: Path, folder: Path) -> None:
    prefix = f"{folder.name}/tests/"
    with tarfile.open(archive) as files:
        for member in files.getmembers():
            if member.isfile() and member.name.startswith(prefix):
                member.name = member.name.removeprefix(prefix)
                files.extract(member, folder / PACKAGE, filter="data")
    # transformers loads this file under its own name.
    (folder / PACKAGE / "__init__.py").touch()
    archive.unlink()


def _stand_in(name: str, **content: object) -> None:
    for parent in [name.rsplit(".", depth)[0] for depth in range(name.count("."), 0, -1)]:
        if parent not in sys.modules and importlib.util.find_spec(parent) is None:
            sys.modules[parent] = ModuleType(parent)
    sys.modules[name] = module = ModuleType(name)
    vars(module).update(content)


def _local_image(address: str) -> str:
    """The path of an image of our own: no test depends on what is in it."""
    path = CACHE / "image.png"
    if not path.is_file():
        levels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(levels).save(path)
    return str(path) if address.endswith((".png", ".jpg")) else address
