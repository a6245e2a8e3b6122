"""Put the browser page together: `python docs/web/build.py` writes docs/web/dist.

The page's own files are copied, onnxruntime-web and the tokenizer library come from npm in the
versions that package.json names, and the model is exported. What comes out is static files, for any
web server: `python -m http.server --directory docs/web/dist`.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PAGE = ("index.html", "style.css", "sw.js", "src")
RUNTIME = {
    "onnxruntime-web/dist": (
        "ort.wasm.min.mjs",
        "ort-wasm-simd-threaded.mjs",
        "ort-wasm-simd-threaded.wasm",
        "ort.webgpu.min.mjs",
        "ort-wasm-simd-threaded.asyncify.mjs",
        "ort-wasm-simd-threaded.asyncify.wasm",
    ),
    "@huggingface/tokenizers/dist": ("tokenizers.min.mjs",),
}
"""Files of npm packages that the page loads; those of WebGPU only where it is chosen."""
FILES = "files.json"


def copy_page(dist: Path) -> None:
    """The page's own files."""
    for name in PAGE:
        source = HERE / name
        if source.is_dir():
            shutil.copytree(source, dist / name, dirs_exist_ok=True)
        else:
            shutil.copy(source, dist / name)


def copy_runtime(dist: Path) -> None:
    """What npm has, in the versions of package.json; nothing of it is run."""
    (dist / "runtime").mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "package.json", dist / "package.json")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(HERE / "package.json", folder)
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        for package, names in RUNTIME.items():
            for name in names:
                shutil.copy(Path(folder, "node_modules", package, name), dist / "runtime")


def export_model(dist: Path, model: str, exported: Path | None) -> None:
    """The model with float16 weights, or what was exported before."""
    if exported is not None:
        shutil.copytree(exported, dist / "model")
        return
    command = ["janusflow.cli.main", "export", "onnx", model, str(dist / "model")]
    subprocess.run([sys.executable, "-m", *command, "--dtype", "float16"], check=True)


def list_files(dist: Path) -> None:
    """What the page may load: its size, and one digest of all for the browser's cache."""
    paths = sorted(path for path in dist.rglob("*") if path.is_file() and path.name != FILES)
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    sizes = {path.relative_to(dist).as_posix(): path.stat().st_size for path in paths}
    listed = {"version": digest.hexdigest()[:16], "sizes": sizes}
    (dist / FILES).write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")


def build(dist: Path, *, model: str = "mini", exported: Path | None = None) -> None:
    """All of it, in a folder whose old content goes away."""
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir(parents=True)
    copy_page(dist)
    copy_runtime(dist)
    export_model(dist, model, exported)
    list_files(dist)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dist", type=Path, default=HERE / "dist", help="where the files go")
    parser.add_argument("--model", default="mini", help="mini, a folder or a hub id")
    parser.add_argument("--exported", type=Path, help="what `janusflow export onnx` wrote before")
    build(**vars(parser.parse_args()))
