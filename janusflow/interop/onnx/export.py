"""A model folder for onnxruntime: graphs, their weights once, tokenizer, and a manifest.

The manifest says what a program without Python needs besides: token ids, templates, sizes, how
images are prepared, solvers, and a digest of every file.
"""

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from janusflow.config.errors import ConfigError
from janusflow.flow import GRIDS, SOLVERS
from janusflow.interop.onnx.graphs import Graph, empty_cache, make_graphs, refuse_unexportable
from janusflow.interop.saving import check_plain, whole_or_nothing
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.json_files import write_json
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.processing.templates import ASSISTANT, PLANNING_QUESTION, USER, question_text

if TYPE_CHECKING:
    import onnx_ir as ir

FORMAT = 1
"""Of the manifest; programs refuse another."""
MANIFEST, WEIGHTS, TOKENIZER = "manifest.json", "weights.bin", "tokenizer.json"
DTYPES = ("float32", "float16")
OPSET = 20


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written."""

    folder: Path
    dtype: str
    sizes: dict[str, int]
    """Bytes of every file."""


def export_onnx(
    folder: Path,
    *,
    model: JanusFlowForConditionalGeneration,
    processor: JanusFlowProcessor,
    vae: AutoencoderKL,
    dtype: str = "float32",
    image_size: int,
    extra: Mapping[str, Any],
    on_graph: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write a model's graphs and all that belongs to them; the folder appears whole or not at all.

    Args:
        folder: new, or one whose files may be replaced.
        model: in float32 on the CPU.
        processor: its tokenizer, templates and image settings are written.
        vae: in float32 on the CPU.
        dtype: of the weights' file; all is computed in float32.
        image_size: rows and columns of a drawn image, in pixels.
        extra: entries of the manifest that the caller knows: the model's name, default settings.
        on_graph: told the name of each graph before it is exported.

    Raises:
        ConfigError: onnx is not installed, or the model is none that can be exported.
        CheckpointError: the model's weights are not plain, or not in memory.
    """
    require_onnx()
    _check(folder, model=model, vae=vae, dtype=dtype)
    with whole_or_nothing(folder) as unfinished:
        graphs = make_graphs(model, vae, image_size=image_size)
        described = _write_graphs(unfinished, graphs, dtype=dtype, on_graph=on_graph)
        processor.tokenizer.backend_tokenizer.save(str(unfinished / TOKENIZER), pretty=False)
        files = {each.name: _digest(each) for each in sorted(unfinished.iterdir())}
        manifest = {
            "format": FORMAT,
            "dtype": dtype,
            "files": files,
            "graphs": described,
            "weights": WEIGHTS,
            **manifest_of(model, processor, image_size=image_size),
            **extra,
        }
        write_json(manifest, unfinished / MANIFEST)
        sizes = {each.name: each.stat().st_size for each in sorted(unfinished.iterdir())}
    return Exported(folder=folder, dtype=dtype, sizes=sizes)


def _check(
    folder: Path, *, model: JanusFlowForConditionalGeneration, vae: AutoencoderKL, dtype: str
) -> None:
    """Refuse what cannot be exported; the errors are those of `export_onnx`."""
    if dtype not in DTYPES:
        raise ConfigError(f"dtype={dtype!r} is unknown. Use one of: {', '.join(DTYPES)}.")
    if model.dtype != torch.float32 or vae.dtype != torch.float32:
        raise ConfigError(
            f"the model is {model.dtype} and its VAE {vae.dtype}: load both with dtype=float32; "
            "what is stored is said by the export's own dtype."
        )
    for part in (model, vae):
        check_plain(part, folder)
    refuse_unexportable(model)


def _write_graphs(
    folder: Path, graphs: Sequence[Graph], *, dtype: str, on_graph: Callable[[str], None]
) -> dict[str, Any]:
    """Write the graphs and the file of their weights, and describe each for the manifest."""
    from janusflow.interop.onnx.weights import WeightFile

    described = {}
    with (folder / WEIGHTS).open("wb") as file:
        weights = WeightFile(path=folder / WEIGHTS, file=file, dtype=dtype)
        for graph in graphs:
            on_graph(graph.name)
            exported = trace(graph)
            weights.take_weights(exported)
            _save(exported, folder / f"{graph.name}.onnx")
            described[graph.name] = _described(exported)
    return described


def trace(graph: Graph) -> "ir.Model":
    """A graph in ONNX, its weights in memory."""
    with _quietly():
        program = torch.onnx.export(
            graph.module.eval(),
            kwargs=graph.inputs,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=graph.axes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None, "dynamo=True gives a program"
    return program.model


def manifest_of(
    model: JanusFlowForConditionalGeneration, processor: JanusFlowProcessor, *, image_size: int
) -> dict[str, Any]:
    """What a program must know of a model and its processor, as JSON."""
    config, images = model.config, processor.image_processor
    with torch.no_grad():
        layers, _, _, heads, _, width = empty_cache(model, rows=1).shape
    ends = config.eos_token_id
    packages = ("janusflow", "torch", "transformers", "onnx")
    return {
        "versions": {name: version(name) for name in packages},
        "tokens": {
            "bos": config.bos_token_id,
            "eos": ends if isinstance(ends, list) else [ends],
            "pad": config.pad_token_id,
            "image": config.image_token_id,
            "image_start": config.image_start_token_id,
            "image_end": config.image_end_token_id,
            "vocab_size": config.get_text_config().vocab_size,
        },
        "context": config.llm_config.max_position_embeddings,
        "cache": {"layers": layers, "heads": heads, "width": width},
        "templates": {
            "prompt": question_text("{prompt}"),
            "plan": PLANNING_QUESTION if config.plans else None,
            "sft_format": processor.sft_format,
            "system_prompt": processor.system_prompt,
            "user": USER,
            "assistant": ASSISTANT,
            "image": processor.image_tag,
        },
        "understanding": {
            "image_size": images.image_size,
            "min_size": images.min_size,
            "mean": list(images.image_mean),
            "std": list(images.image_std),
            "rescale_factor": images.rescale_factor,
            "background": images.background_color,
            "resample": "bicubic",
            "num_tokens": processor.num_image_tokens,
        },
        "generation": {
            "image_size": image_size,
            "latent_channels": config.generation.latent_channels,
            "latent_size": config.generation.latent_size,
            "num_tokens": config.generation.num_tokens,
            "grids": list(GRIDS),
            "solvers": {
                name: {"a": tableau.a, "b": tableau.b, "c": tableau.c}
                for name, tableau in SOLVERS.items()
                if tableau.b_low is None
            },
        },
    }


def _described(model: "ir.Model") -> dict[str, Any]:
    """Names, dtypes and shapes of a graph's inputs and outputs; an axis of any length by name."""

    def shape(value: "ir.Value") -> list[int | str]:
        return [each if isinstance(each, int) else str(each) for each in value.shape or ()]

    return {
        kind: {
            str(each.name): {"dtype": str(each.dtype).lower(), "shape": shape(each)}
            for each in values
        }
        for kind, values in (("inputs", model.graph.inputs), ("outputs", model.graph.outputs))
    }


def _save(model: "ir.Model", path: Path) -> None:
    import onnx_ir as ir

    model.producer_name, model.producer_version = "janusflow", version("janusflow")
    for node in model.graph.all_nodes():
        node.metadata_props.clear()  # lines of Python, with the paths of this machine
        node.doc_string = None
    ir.save(model, path)


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def require_onnx() -> None:
    """Ask for the packages that exporting needs.

    Raises:
        ConfigError: one is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnx_ir  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f'exporting to ONNX needs onnx and onnxscript ({error}): pip install "janusflow[onnx]".'
        ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter says of torchvision, and of its own deprecated calls."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
