"""`convert`: a model folder in the other layout. Weights keep their stored dtype, bit for bit."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from janusflow.config.errors import CheckpointError
from janusflow.interop.hub import find_folder
from janusflow.interop.load import load_model
from janusflow.interop.saving import save_official, whole_or_nothing, write_model
from janusflow.interop.vae import SUBFOLDER
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.processing.processor_files import PREPROCESSOR_FILE, PROCESSOR_FILE

Layout = Literal["official", "janusflow"]

_OF_ONE_LAYOUT = (PREPROCESSOR_FILE, "chat_template.jinja", "generation_config.json")
"""Files that our layout or the release's has, and the other has not."""
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".index.json", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was written."""

    folder: Path
    layout: Layout
    num_parameters: int
    copied: tuple[str, ...]
    """Files taken over as they were: VAE, licence, read-me."""
    left_out: tuple[str, ...]
    """Weights the layout has no place for: those of the REPA head, which only training uses."""


def convert(
    src: str | Path,
    dst: str | Path,
    *,
    to: Layout = "janusflow",
    change: Callable[[JanusFlowForConditionalGeneration], None] | None = None,
) -> Conversion:
    """Write the model of `src` (a folder or hub id, either layout) to the new folder `dst`.

    Args:
        src: a folder or hub id, in either layout.
        dst: the new folder.
        to: its layout.
        change: called with the model before it is written: an adapter is merged so.

    Raises:
        CheckpointError: `dst` has content, or the model does not fit the layout.
    """
    source, target = find_folder(src), _new(dst)
    model, left_out = load_model(source), ()
    if change is not None:
        change(model)
    with whole_or_nothing(target) as unfinished:
        if to == "official":
            left_out = save_official(model, unfinished)
        else:
            write_model(model, unfinished)
        if (source / PROCESSOR_FILE).is_file():
            processor = JanusFlowProcessor.from_pretrained(source)
            save = processor.save_release_layout if to == "official" else processor.save_pretrained
            save(unfinished)
        copied = _copy_others(source, unfinished)
    return Conversion(
        folder=target,
        layout=to,
        num_parameters=model.num_parameters(),
        copied=copied,
        left_out=left_out,
    )


def take_folder(src: Path, dst: str | Path) -> None:
    """Move a folder that is complete to the new folder `dst`.

    Raises:
        CheckpointError: `dst` has content.
    """
    with whole_or_nothing(_new(dst)) as unfinished:
        for path in src.iterdir():
            path.replace(unfinished / path.name)


def _new(dst: str | Path) -> Path:
    target = Path(dst).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(f"{target}: exists and is not empty: name a new folder.")
    return target


def _copy_others(source: Path, folder: Path) -> tuple[str, ...]:
    """Everything that is neither a weight nor written already; of folders, the VAE's only."""
    copied = []
    for path in sorted(source.iterdir()):
        if path.is_dir() and path.name == SUBFOLDER:
            shutil.copytree(path, folder / path.name)
        elif (
            not path.is_file()
            or path.name.startswith(".")
            or path.name.endswith(_WEIGHT_SUFFIXES)
            or path.name in _OF_ONE_LAYOUT
            or (folder / path.name).exists()
        ):
            continue
        else:
            shutil.copyfile(path, folder / path.name)
        copied.append(path.name)
    return tuple(copied)
