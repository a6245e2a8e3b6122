"""`janusflow chat`: a conversation with images, both ways, in the terminal or from a pipe."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janusflow.cli.options import (
    Adapter,
    Device,
    Dtype,
    Guidance,
    MaxNewTokens,
    Model,
    Offload,
    Quantize,
    Steps,
    Temperature,
    TopP,
)
from janusflow.config.errors import JanusFlowError, PromptError

if TYPE_CHECKING:
    from janusflow.inference.pipeline import JanusFlow

HELP = """\
/image PATH   show an image with your next message
/draw PROMPT  draw an image; it is saved and shown with your next message
/reset        forget the conversation
/quit         leave (or Ctrl-D)"""


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for drawn images.")] = Path(
        "drawings"
    ),
    steps: Steps = 30,
    guidance: Guidance = 2.0,
    seed: Annotated[int | None, typer.Option(help="First seed; random without.")] = None,
    max_new_tokens: MaxNewTokens = 512,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    model: Model = "mini",
    adapter: Adapter = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    offload: Offload = None,
) -> None:
    """Talk about images and draw them: /image PATH, /draw PROMPT, /reset, /quit.

    Examples:
      janusflow chat

      janusflow chat --model mini < what-to-say.txt
    """
    from janusflow.inference.loading import load

    is_terminal = sys.stdin.isatty()
    session = Session(
        jf=load(
            model, adapter=adapter, device=device, dtype=dtype, quantize=quantize, offload=offload
        ),
        output=output,
        drawing={"steps": steps, "guidance": guidance, "progress": is_terminal},
        answering={"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p},
        seed=seed,
    )
    if is_terminal:
        typer.echo(f"{model} is ready. /help lists what else you can type.")
    while session.is_open:
        if is_terminal:
            typer.echo("> ", nl=False)
        line = sys.stdin.readline()
        if not line:
            break
        try:
            session.take(line.strip())
        except KeyboardInterrupt:
            typer.echo("\n(stopped)", err=True)
        except Exception as error:  # noqa: BLE001 (nothing that goes wrong ends a conversation)
            kind = "" if isinstance(error, JanusFlowError) else f"{type(error).__name__}: "
            typer.echo(f"error: {kind}{' '.join(str(error).split())}", err=True)


@dataclass(kw_only=True)
class Session:
    """One conversation: what was said, what will be shown next, and how many were drawn."""

    jf: "JanusFlow"
    output: Path
    drawing: dict[str, Any]
    answering: dict[str, Any]
    seed: int | None
    messages: list[Any] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)
    is_open: bool = True

    def take(self, line: str) -> None:
        """Do what one line asks for."""
        word, _, rest = line.partition(" ")
        match word:
            case "":
                pass
            case "/quit" | "/exit":
                self.is_open = False
            case "/help":
                typer.echo(HELP)
            case "/reset":
                self.messages, self.images = [], []
                typer.echo("(forgotten)")
            case "/image" | "/draw" if not rest.strip():
                raise PromptError(f"{line} needs more: /image PATH or /draw PROMPT.")
            case "/image":
                self._show(rest.strip().strip("'\""))
            case "/draw":
                self._draw(rest.strip())
            case _ if word.startswith("/"):
                raise PromptError(f"{word} is no command here: /help lists them.")
            case _:
                self._answer(line)

    def _show(self, path: str) -> None:
        from janusflow.processing.image_files import open_image

        image = open_image(path)
        self.images.append(image)
        typer.echo(f"({image.width} x {image.height} pixels: ask about it)")

    def _draw(self, prompt: str) -> None:
        from janusflow.inference.drawing.metadata import save_image

        (image,) = self.jf.generate(prompt, seed=self.seed, **self.drawing)
        if self.seed is not None:
            self.seed += 1
        path = self._free_path()
        save_image(image, path)
        self.images.append(image)
        typer.echo(f"({path}: ask about it)")

    def _free_path(self) -> Path:
        """The first number that no file has yet: nothing is overwritten."""
        number = 1
        while (path := self.output / f"drawing-{number}.png").exists():
            number += 1
        return path

    def _answer(self, question: str) -> None:
        from janusflow.inference.answering.chat import question_message

        asked = question_message(self.images, question)
        pieces = []
        for piece in self.jf.stream([*self.messages, asked], **self.answering):
            pieces.append(piece)
            typer.echo(piece, nl=False)
        typer.echo()
        answer = "".join(pieces).strip()
        # Only now: an interrupted or refused answer leaves the conversation as it was.
        self.messages += [asked, {"role": "assistant", "content": answer or "-"}]
        self.images = []
