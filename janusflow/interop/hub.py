"""Models by their names: `mini`, a folder, a training run, or a hub id, downloaded if need be."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from janusflow.config.errors import CheckpointError
from janusflow.processing.json_files import read_json

MINI = "mini"
EMBEDDED = {MINI: Path(__file__).parents[1] / "mini" / "assets"}
"""Models that ship with the package: name -> folder. A folder of such a name is `./mini`."""
OFFICIAL_MODEL = "deepseek-ai/JanusFlow-1.3B"
OFFICIAL_VAE = "stabilityai/sdxl-vae"

CONFIG = "config.json"
RUN_MODEL = "model"
"""Where in its folder a training run leaves its model."""
ADAPTER_CONFIG, RUN_ADAPTER = "adapter_config.json", "adapter"
"""What tells an adapter's folder, and where in its folder a training run leaves its adapter."""
MODEL_FILES = ("*.json", "*.safetensors", "*.bin", "vae/*")
PROCESSOR_FILES = ("*.json", "*.jinja")
MODEL_ADVICE = (
    "JanusFlow-1.3B needs two downloads, where there is a network: "
    f"`hf download {OFFICIAL_MODEL}` and `hf download {OFFICIAL_VAE}`; then pass their folders "
    "(model, vae=)."
)
VAE_FILES = (CONFIG, "diffusion_pytorch_model*.safetensors", "diffusion_pytorch_model*.json")


def find_folder(
    where: str | Path,
    *,
    files: tuple[str, ...] = MODEL_FILES,
    revision: str | None = None,
    token: str | bool | None = None,
    kind: str = f"{MINI}, a model folder",
    advice: str = MODEL_ADVICE,
) -> Path:
    """The folder that is meant: itself, mini's, or a hub id's local copy, downloaded if missing.

    Args:
        files: of the hub id's those that are downloaded.
        revision: branch, tag or commit of a hub id.
        token: for a hub id that is not public.
        kind: what may be named instead of a hub id, in an error's words.
        advice: what to do where it cannot be downloaded.

    Raises:
        CheckpointError: it is none of these, or cannot be downloaded from here.
    """
    name = str(where)
    if where in EMBEDDED:
        if not (EMBEDDED[name] / CONFIG).is_file():
            raise CheckpointError(
                f"{EMBEDDED[name]}: {name}'s weights are not there: reinstall janusflow, or name a "
                "model folder."
            )
        return EMBEDDED[name]
    folder = Path(where).expanduser()
    if folder.is_dir():
        return folder
    if isinstance(where, Path) or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise CheckpointError(f"{name}: no such folder: pass {kind} or a hub id (owner/name).")
    try:
        return Path(
            snapshot_download(name, allow_patterns=list(files), revision=revision, token=token)
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{name}: neither a folder nor cached here, and not downloaded ({reason}). {advice}"
        ) from error


def folder_at_hand(where: str | Path) -> Path | None:
    """The folder that is meant, if it is here already; nothing is downloaded."""
    if where in EMBEDDED:
        return EMBEDDED[str(where)]
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


def adapter_at(folder: Path) -> Path | None:
    """The folder that holds an adapter's files: this one, or a training run's adapter in it."""
    candidates = (folder, folder / RUN_ADAPTER)
    return next((each for each in candidates if (each / ADAPTER_CONFIG).is_file()), None)


def find_model(
    name: str | Path,
    *,
    files: tuple[str, ...] = MODEL_FILES,
    revision: str | None = None,
    token: str | bool | None = None,
) -> Path:
    """The folder of the model that a name stands for; the arguments are those of `find_folder`.

    Raises:
        CheckpointError: there is none.
    """
    folder = find_folder(name, files=files, revision=revision, token=token)
    if found := model_in(folder):
        return found
    adapter = adapter_at(folder)
    if adapter is not None:
        base = read_json(adapter / ADAPTER_CONFIG).get("base_model_name_or_path")
        raise CheckpointError(
            f"{name}: an adapter, not a model (its base: {base}): name the base, and the adapter "
            "beside it (adapter=, --adapter)."
        )
    raise CheckpointError(
        f"{name}: neither {CONFIG} nor {RUN_MODEL}/{CONFIG} in this folder: name a model folder, "
        "or a training run that has finished."
    )
