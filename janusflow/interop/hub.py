"""Folders of models that are named by a folder or by a hub id, downloaded if need be."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from janusflow.config.errors import CheckpointError

OFFICIAL_MODEL = "deepseek-ai/JanusFlow-1.3B"
OFFICIAL_VAE = "stabilityai/sdxl-vae"

CONFIG = "config.json"
RUN_MODEL = "model"
"""Where in its folder a training run leaves its model."""
MODEL_FILES = ("*.json", "*.safetensors", "*.bin", "vae/*")
VAE_FILES = (CONFIG, "diffusion_pytorch_model*.safetensors", "diffusion_pytorch_model*.json")


def find_folder(
    where: str | Path,
    *,
    files: tuple[str, ...] = MODEL_FILES,
    revision: str | None = None,
    token: str | bool | None = None,
) -> Path:
    """The folder that is meant: itself, or the local copy of a hub id, downloaded if missing.

    Args:
        files: of the hub id's those that are downloaded.
        revision: branch, tag or commit of a hub id.
        token: for a hub id that is not public.

    Raises:
        CheckpointError: it is neither, or cannot be downloaded from here.
    """
    folder = Path(where).expanduser()
    if folder.is_dir():
        return folder
    name = str(where)
    if isinstance(where, Path) or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise CheckpointError(
            f"{name}: no such folder: pass a model folder or a hub id (owner/name)."
        )
    try:
        return Path(
            snapshot_download(name, allow_patterns=list(files), revision=revision, token=token)
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{name}: neither a folder nor cached here, and not downloaded ({reason}). "
            "JanusFlow-1.3B needs two downloads, where there is a network: "
            f"`hf download {OFFICIAL_MODEL}` and `hf download {OFFICIAL_VAE}`; then pass their "
            "folders (model, vae=)."
        ) from error


def folder_at_hand(where: str | Path) -> Path | None:
    """The folder that is meant, if it is here already; nothing is downloaded."""
    folder = Path(where).expanduser()
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(str(where), local_files_only=True))
    except (HfHubHTTPError, HFValidationError, OSError):
        return None


def model_in(folder: Path | None) -> Path | None:
    """The folder that holds a model's configuration: this one, or a training run's model in it."""
    candidates = () if folder is None else (folder, folder / RUN_MODEL)
    return next((each for each in candidates if (each / CONFIG).is_file()), None)
