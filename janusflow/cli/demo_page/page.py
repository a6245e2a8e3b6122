"""The demo's page: one HTML file that holds its images and needs no network."""

from html import escape
from pathlib import Path
from string import Template

from PIL import Image

import janusflow
from janusflow.cli.demo_page.showcase import PATH_PROMPT, PROMPTS, Frame, QuestionedImage, Showcase
from janusflow.inference.drawing.metadata import record_of
from janusflow.inference.pipeline import JanusFlow
from janusflow.interop.hub import MINI
from janusflow.mini.language.questions import Question, is_correct
from janusflow.processing.pages import embedded, read_style

TEMPLATE = Path(__file__).with_name("page.html")


def build_page(
    showcase: Showcase, jf: JanusFlow, *, steps: int, files: list[Path], program: str, model: str
) -> str:
    """Fill the template.

    Args:
        showcase: what is shown.
        jf: made it.
        steps: of each image.
        files: where the drawn images were saved, in order.
        program: what to type for this program.
        model: what to name this model.
    """
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=read_style(),
        model=escape(jf.name),
        num_parameters=_count(sum(weight.numel() for weight in jf.model.parameters())),
        device=escape(jf.model.device.type.upper()),
        steps=steps,
        seconds_drawing=f"{showcase.seconds_drawing:.1f}",
        seconds_answering=f"{showcase.seconds_answering:.1f}",
        num_questions=len(_questions(showcase.about_drawings + showcase.about_scenes)),
        first_file=escape(str(files[0])),
        drawn="\n".join(map(_figure, showcase.drawn, files)),
        path_prompt=escape(list(PROMPTS)[PATH_PROMPT]),
        path=_path(showcase.path),
        about_drawings="\n".join(map(_asked, showcase.about_drawings)),
        about_scenes="\n".join(map(_asked, showcase.about_scenes)),
        score_drawings=_score(showcase.about_drawings),
        score_scenes=_score(showcase.about_scenes),
        program=escape(program),
        commands=escape("\n".join(next_commands(program, model))),
        version=janusflow.__version__,
    )


def next_commands(program: str, model: str) -> list[str]:
    """What to type after the demo."""
    named = "" if model == MINI else f" --model {model}"
    return [
        f'{program} generate "a yellow star" -o star.png{named}',
        f'{program} ask star.png "What shape is it?"{named}',
        f"{program} chat{named}",
    ]


def _figure(image: Image.Image, file: Path) -> str:
    record = record_of(image)
    prompt, seed = (record.prompt, record.seed) if record else ("", "")
    return (
        f"<figure>{embedded(image, alt=prompt)}<figcaption>{escape(prompt)}<br>"
        f"<small>seed {seed} &middot; {escape(file.name)}</small></figcaption></figure>"
    )


def _path(frames: list[Frame]) -> str:
    states = "".join(f"<td>{embedded(f.state, alt=f'state at t={f.t:.2f}')}</td>" for f in frames)
    previews = "".join(f"<td>{embedded(f.preview, alt='preview')}</td>" for f in frames)
    times = "".join(f'<td class="t">t = {f.t:.2f}</td>' for f in frames)
    return (
        f"<tr><th>state</th>{states}</tr>\n<tr><th>preview</th>{previews}</tr>\n"
        f"<tr><th></th>{times}</tr>"
    )


def _asked(shown: QuestionedImage) -> str:
    answers = "".join(_answer(*each) for each in shown.asked)
    caption = "" if shown.prompt is None else f"<small>{escape(shown.prompt)}</small>"
    image = embedded(shown.image, alt=shown.prompt or "a rendered scene")
    return f'<div class="asked"><div>{image}{caption}</div><dl>{answers}</dl></div>'


def _answer(question: Question, answer: str) -> str:
    is_right = is_correct(question, answer)
    mark = "right" if is_right else "wrong"
    wanted = "" if is_right else f' <span class="wanted">({escape(question.answer)})</span>'
    said = escape(answer) or "&hellip;"
    return f'<dt>{escape(question.text)}</dt><dd class="{mark}">{said}{wanted}</dd>'


def _score(shown: list[QuestionedImage]) -> str:
    asked = _questions(shown)
    return f"{sum(is_correct(*each) for each in asked)} of {len(asked)} answers are right."


def _questions(shown: list[QuestionedImage]) -> list[tuple[Question, str]]:
    return [asked for each in shown for asked in each.asked]


def _count(number: int) -> str:
    """A number of parameters as people say it."""
    for unit, size in (("billion", 10**9), ("million", 10**6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:,}"
