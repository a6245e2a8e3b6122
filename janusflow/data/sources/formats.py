"""Layouts of training data by name, as a recipe's `format` says them, and the sources they make."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from janusflow.config.data import SourceConfig
from janusflow.config.errors import ConfigError, DataError, PromptError
from janusflow.data.batches.mixture import Kind
from janusflow.data.prepare import Preparation
from janusflow.data.samples import GenerationSample, Sample, TextSample, Turn, UnderstandingSample
from janusflow.data.sources.adapters import (
    LLAVA_TAG,
    Captioned,
    Chat,
    Given,
    read_captioned,
    read_chat,
    read_text,
    read_vqa,
    require_files,
)
from janusflow.data.sources.annotations import (
    coco_captions,
    gqa,
    journeydb,
    localized_narratives,
    vqav2,
)
from janusflow.data.sources.base import BAD_ROW_ERRORS, WeightedSource
from janusflow.data.sources.redraw import redrawing, redrawn_ones, require_redrawable
from janusflow.data.sources.streams import StreamedTable
from janusflow.data.sources.tables import Row, Table, open_table
from janusflow.processing.image_files import ImageInput
from janusflow.processing.video import DEFAULT_FRAMES

CAPTION_QUESTION = "Generate the caption of this picture."
"""The paper's example (section 4.2)."""


@dataclass(frozen=True, kw_only=True)
class TableSource:
    """Rows of a table, each read into what a layout holds, of which a sample is made."""

    name: str
    table: Table | StreamedTable
    prepare: Preparation
    read: Callable[[Row], Any]
    make: "MakeSample"

    def __len__(self) -> int:
        return len(cast(Table, self.table))

    def sample(self, row: int, rng: np.random.Generator) -> Sample:
        """Make a row's sample; errors are those of `record`, and of images."""
        return self.make(self.record(row), self.prepare, rng)

    def images(self, row: int) -> tuple[ImageInput, ...]:
        """A row's images, unopened; errors are those of `record`."""
        return self.record(row).images

    def record(self, row: int) -> Any:
        """What a row holds.

        Raises:
            DataError, PromptError: it is not as its layout has it.
        """
        try:
            return self.read(self.table[row])
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            # The placeholder is the model's: people write <image>.
            told = str(error).replace(self.prepare.image_tag, LLAVA_TAG)
            if isinstance(error, PromptError):
                raise PromptError(told) from error
            raise DataError(
                f"the row is not as its format has it ({type(error).__name__}: {told:.100})."
            ) from error


MakeSample = Callable[[Any, Preparation, np.random.Generator], Sample]


def chat_sample(chat: Chat, prepare: Preparation, _rng: np.random.Generator) -> UnderstandingSample:
    """A conversation about images."""
    images = tuple(prepare.for_understanding(image) for image in chat.images)
    return UnderstandingSample(images=images, turns=chat.turns, system=chat.system)


def caption_sample(
    found: Captioned, prepare: Preparation, rng: np.random.Generator
) -> UnderstandingSample:
    """An image with one of its captions, to be learnt as an answer."""
    caption = found.captions[rng.integers(len(found.captions))]
    turns = (Turn(question=CAPTION_QUESTION, answer=caption),)
    return UnderstandingSample(images=(prepare.for_understanding(found.images[0]),), turns=turns)


def drawing_sample(
    found: Captioned, prepare: Preparation, rng: np.random.Generator
) -> GenerationSample:
    """An image with one of its captions as prompt."""
    return GenerationSample(
        prompt=found.captions[rng.integers(len(found.captions))],
        **prepare.for_generation(found.images[0], rng)._asdict(),
        seed=int(rng.integers(2**63)),
    )


def text_sample(text: str, _prepare: Preparation, _rng: np.random.Generator) -> TextSample:
    """A plain text."""
    return TextSample(text=text)


class StreamedSource:
    """A source whose table has no end."""

    def __init__(self, source: TableSource) -> None:
        self.source = source
        self.name = source.name
        self.table = cast(StreamedTable, source.table)
        self._orders: dict[int, StreamedSource] = {}

    @property
    def num_rows(self) -> int | None:
        """Of a pass, once one was read to its end."""
        return self.table.lengths.total

    def in_order(self, seed: int) -> "StreamedSource":
        """The same rows in the order of a seed."""
        if seed not in self._orders:
            table = replace(self.table, seed=seed)
            self._orders[seed] = StreamedSource(replace(self.source, table=table))
        return self._orders[seed]

    def sample(self, row: int, rng: np.random.Generator) -> Sample:
        """Make a row's sample; what is wrong with it is told with its place in the files."""
        shard, number, _ = self.table.located(row)
        try:
            return self.source.sample(row, rng)
        except BAD_ROW_ERRORS as error:
            raise DataError(f"row {number} of {shard}: {error}") from error

    def has(self, row: int) -> bool:
        """Whether a row is one of the first pass."""
        return self.table.has(row)


class Layout(NamedTuple):
    """How files of a layout are opened, how a row is read, and what samples it makes."""

    table: Callable[..., Table | StreamedTable]
    """Takes the path and the options in `table_options`."""
    read: Callable[[Row, Given], Any]
    samples: dict[Kind, MakeSample]
    columns: tuple[str, ...] = ()
    """Options that name columns."""
    table_options: tuple[str, ...] = ()
    reads_films: bool = False
    """Whether the option `frames` says how many images a film is shown by."""


CHATS: dict[Kind, MakeSample] = {"understanding": chat_sample, "text": chat_sample}
CAPTIONED: dict[Kind, MakeSample] = {
    "understanding": caption_sample,
    "generation": drawing_sample,
}
IMAGE_AND_CAPTION = ("image", "caption")
OPENING = ("split", "streaming", "shuffle_buffer")

LAYOUTS: dict[str, Layout] = {
    "chat": Layout(open_table, read_chat, CHATS, (), OPENING, reads_films=True),
    "captions": Layout(open_table, read_captioned, CAPTIONED, IMAGE_AND_CAPTION, OPENING),
    "vqa": Layout(open_table, read_vqa, CHATS, ("image", "question", "answer"), OPENING),
    "text": Layout(open_table, read_text, {"text": text_sample}, ("text",), OPENING),
    "coco-captions": Layout(coco_captions, read_captioned, CAPTIONED),
    "vqav2": Layout(vqav2, read_vqa, CHATS, (), ("answers", "name")),
    "gqa": Layout(gqa, read_vqa, CHATS),
    "journeydb": Layout(journeydb, read_captioned, CAPTIONED),
    "localized-narratives": Layout(localized_narratives, read_captioned, CAPTIONED),
}
"""What a recipe's `format` may say of files; LAION-style shards and Open Images' captions are
`captions`, C4 and OpenWebText are `text`."""


Opener = Callable[[SourceConfig], list[WeightedSource]]
PLUGIN_FORMATS: dict[str, dict[Kind, Opener]] = {}
"""Formats that plugins registered."""


def register_format(name: str, openers: dict[Kind, Opener]) -> None:
    """Make a format known, by what opens its sources of each kind; plugins do so."""
    PLUGIN_FORMATS[name] = openers


@cache
def load_plugins() -> None:
    """Let installed packages, ours for `mini` among them, register their tasks and formats."""
    for point in entry_points(group="janusflow.plugins"):
        point.load()()


def require_kind(kind: Kind, config: SourceConfig, *, makes: list[Kind]) -> None:
    """Refuse a source that is listed under a kind it does not make."""
    if kind not in makes:
        raise ConfigError(
            f"{config.path}: format {config.format} makes {', '.join(makes)} samples, not {kind}. "
            "Move it to the right section."
        )


def require_stream_options(path: str, *, streaming: Any, shuffle_buffer: Any) -> None:
    """Refuse values of options that say how a stream is read."""
    if not isinstance(streaming, bool):
        raise ConfigError(f"{path}: streaming={streaming!r}: wanted true or false.")
    if shuffle_buffer is not None and not streaming:
        raise ConfigError(
            f"{path}: shuffle_buffer={shuffle_buffer!r} is for streaming=true: without it all rows "
            "are shuffled together. Leave it out."
        )
    if shuffle_buffer is not None and (type(shuffle_buffer) is not int or shuffle_buffer < 1):
        raise ConfigError(
            f"{path}: shuffle_buffer={shuffle_buffer!r}: wanted a number of rows, 1 or more."
        )


def open_sources(
    configs: Mapping[Kind, Sequence[SourceConfig]],
    prepare: Preparation,
    *,
    lengths: Path | None = None,
) -> dict[Kind, list[WeightedSource]]:
    """Open the sources of each kind.

    Raises:
        ConfigError: a format is unknown, or does not make the kind it is listed under.
        DataError: a file is missing or is something else.
    """
    return {
        kind: [
            source
            for config in listed
            for source in open_source(kind, config, prepare, lengths=lengths)
        ]
        for kind, listed in configs.items()
    }


def open_source(
    kind: Kind, config: SourceConfig, prepare: Preparation, *, lengths: Path | None = None
) -> list[WeightedSource]:
    """Open a source of one kind.

    Args:
        prepare: makes its images fit the model.
        lengths: file that keeps how long the shards of streams are.

    Raises:
        ConfigError: the format is unknown, does not make this kind or has no such option or value.
        DataError: its file is missing or is something else.
    """
    load_plugins()
    require_redrawable(kind, config)
    if config.format in PLUGIN_FORMATS:
        openers = PLUGIN_FORMATS[config.format]
        require_kind(kind, config, makes=list(openers))
        return redrawn_ones(openers[kind](config), config.redraw, prepare.image_tag)
    layout = LAYOUTS.get(config.format)
    if layout is None:
        raise ConfigError(f"format {config.format!r} is unknown: use {', '.join(LAYOUTS)}.")
    require_kind(kind, config, makes=list(layout.samples))
    table, given = _table(config, layout), _given(config, layout, prepare)
    if isinstance(table, StreamedTable):
        table.lengths = replace(table.lengths, log=lengths)

    def read(row: Row) -> Any:
        found = layout.read(row, given)
        require_files(getattr(found, "images", ()), given.folder)
        return found

    source = TableSource(
        name=config.path,
        table=table,
        prepare=prepare,
        read=read,
        make=layout.samples[kind]
        if config.redraw is None
        else redrawing(layout.samples[kind], config.redraw),
    )
    is_stream = isinstance(table, StreamedTable)
    return [WeightedSource(StreamedSource(source) if is_stream else source, config.weight)]


def _table(config: SourceConfig, layout: Layout) -> Table | StreamedTable:
    """The rows of a source, its options checked."""
    known = (*layout.table_options, *layout.columns, *(("frames",) if layout.reads_films else ()))
    unknown = [name for name in config.options if name not in known]
    if unknown:
        raise ConfigError(
            f"{config.path}: format {config.format} has no option {', '.join(unknown)}; it knows "
            f"{', '.join(known) or 'none'}."
        )
    told = {name: config.options[name] for name in layout.table_options if name in config.options}
    require_stream_options(
        config.path,
        streaming=told.get("streaming", False),
        shuffle_buffer=told.get("shuffle_buffer"),
    )
    try:
        return layout.table(config.path, **told)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{config.path} is not as format {config.format} has it ({type(error).__name__}: "
            f"{error!s:.100}): get the file again, or name another format."
        ) from error


def _given(config: SourceConfig, layout: Layout, prepare: Preparation) -> Given:
    """What reading a source's rows needs beside them."""
    frames = config.options.get("frames", DEFAULT_FRAMES)
    if type(frames) is not int or frames < 1:
        raise ConfigError(f"{config.path}: frames={frames!r}: wanted a whole number, 1 or more.")
    return Given(
        folder=Path(config.path).parent if config.images is None else config.images,
        image_tag=prepare.image_tag,
        columns={name: config.options[name] for name in layout.columns if name in config.options},
        frames=frames,
    )
