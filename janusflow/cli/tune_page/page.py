"""The page of a tuned model: one HTML file that holds its images and needs no network."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image

import janusflow
from janusflow.cli.tune_page.trial import Trial, TrialPlan
from janusflow.data.picture_folder import Asked
from janusflow.interop.hub import MINI
from janusflow.processing.image_files import open_image
from janusflow.processing.pages import embedded, read_style

TEMPLATE = Path(__file__).with_name("page.html")
NUM_PICTURES = 8
KILO = 10**3
THUMBNAIL = 256
"""Widest a learnt picture is shown, in pixels."""
CURVE_WIDTH, CURVE_HEIGHT, MARGIN = 640, 200, 34


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What the page tells."""

    model: str
    run: Path
    adapter: Path
    recipe: Path
    page: Path
    captions: Mapping[Path, str]
    told_by: str
    """Where captions come from."""
    num_asked: int
    """Conversations about pictures."""
    num_prior: int
    plan: TrialPlan
    before: Trial
    after: Trial
    steps: int
    seconds: float

    @property
    def kilobytes(self) -> float:
        """Of the adapter's folder."""
        return sum(file.stat().st_size for file in self.adapter.rglob("*")) / KILO

    @property
    def learnt_from(self) -> str:
        """What there was in the folder, in words."""
        drawn = f"{len(self.captions)} pictures, {self.told_by}" if self.captions else ""
        asked = f"{self.num_asked} questions" if self.num_asked else ""
        return " and ".join(filter(None, (drawn, asked)))

    def shown(self) -> list[tuple[Path, str]]:
        """Some pictures, with what they are learnt as or what is answered about them."""
        answered = [(each.path, each.answer) for each in self.plan.asked]
        return [*self.captions.items()][:NUM_PICTURES] or answered

    def commands(self) -> list[str]:
        """What to type with the adapter."""
        named = "" if self.model == MINI else f" --model {self.model}"
        asked = self.plan.asked[-1]
        drawing = [
            f'janusflow generate "{prompt}" --adapter {self.run}{weight}{named} -o {name}.png'
            for prompt in self.plan.own[:1]
            for weight, name in (("", "drawing"), (":0.5", "half"))
        ]
        return [
            *drawing,
            f'janusflow ask {asked.path} "{asked.question}" --adapter {self.run}{named}',
            f"janusflow train {self.recipe} run={self.run}-2 loop.steps={2 * self.steps}",
        ]

    def as_json(self) -> dict[str, Any]:
        """What a program may want to know."""
        return {
            "adapter": str(self.adapter),
            "recipe": str(self.recipe),
            "page": str(self.page),
            "captions": {str(path): said for path, said in self.captions.items()},
            "captions_by": self.told_by,
            "prior_images": self.num_prior,
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "answers": {"before": self.before.answers, "after": self.after.answers},
            "shares_right": {"before": dict(self.before.shares), "after": dict(self.after.shares)},
            "commands": self.commands(),
        }


def build_page(tuned: Tuned) -> str:
    """Fill the template."""
    plan, before, after = tuned.plan, tuned.before, tuned.after
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=read_style(),
        model=escape(tuned.model),
        learnt_from=escape(tuned.learnt_from),
        steps=tuned.steps,
        minutes=f"{tuned.seconds / 60:.1f}",
        kilobytes=f"{tuned.kilobytes:,.0f}",
        pictures="\n".join(_figure(_thumbnail(path), said) for path, said in tuned.shown()),
        own=_drawn(tuned) if plan.own else "",
        answers=_answers(
            [_thumbnail(each.path) for each in plan.asked],
            before.answers,
            after.answers,
            plan.asked,
        ),
        forgot=_forgot(tuned),
        curve=_curve(tuned.run / "log.jsonl"),
        commands=escape("\n".join(tuned.commands())),
        version=janusflow.__version__,
    )


def _thumbnail(path: Path) -> Image.Image:
    image = open_image(path)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return image


def _figure(image: Image.Image, said: str) -> str:
    caption = escape(said)
    return f"<figure>{embedded(image, alt=said)}<figcaption>{caption}</figcaption></figure>"


def _pair(before: Image.Image, after: Image.Image, prompt: str) -> str:
    return (
        f'<figure class="pair"><div>{embedded(before, alt=f"before: {prompt}")}<small>before'
        f"</small></div><div>{embedded(after, alt=f'after: {prompt}')}<small>after</small></div>"
        f"<figcaption>{escape(prompt)}</figcaption></figure>"
    )


def _drawn(tuned: Tuned) -> str:
    pairs = "\n".join(map(_pair, tuned.before.own, tuned.after.own, tuned.plan.own))
    seeds = ", ".join(map(str, range(len(tuned.plan.own))))
    return f'<h2>What it draws now</h2>\n<p>Seeds {seeds}.</p>\n<div class="pairs">{pairs}</div>'


def _answers(
    images: Sequence[Image.Image],
    before: Sequence[str],
    after: Sequence[str],
    asked: Sequence[Asked] | None = None,
) -> str:
    """An image a row, with what was said of it before and after; a mark where that is wanted."""
    rows = []
    for index, image in enumerate(images):
        mark, question = "", ""
        if asked is not None:
            is_right = after[index].strip() == asked[index].answer
            mark = ' class="right"' if is_right else ' class="wrong"'
            question = f"<dt>asked</dt><dd>{escape(asked[index].question)}</dd>"
        rows.append(
            f'<div class="asked"><div>{embedded(image, alt="asked about")}</div>'
            f"<dl>{question}<dt>before</dt><dd>{escape(before[index]) or '&hellip;'}</dd>"
            f"<dt>after</dt><dd{mark}>{escape(after[index]) or '&hellip;'}</dd></dl></div>"
        )
    return "\n".join(rows)


def _forgot(tuned: Tuned) -> str:
    """Drawings and answers that should have stayed as they were, and shares that are judged."""
    plan, before, after = tuned.plan, tuned.before, tuned.after
    if not plan.kept:
        return (
            "<p>Nothing is known of what this model draws else: name it with --class-prompt, "
            "and it is kept and shown here.</p>"
        )
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{share:.0%}</td><td>{after.shares[name]:.0%}</td></tr>"
        for name, share in before.shares.items()
    )
    table = f"<table><tr><th></th><td>before</td><td>after</td></tr>{rows}</table>" if rows else ""
    pairs = "\n".join(map(_pair, before.kept, after.kept, plan.kept))
    said = _answers(before.kept, before.descriptions, after.descriptions)
    return (
        f'{table}<div class="pairs">{pairs}</div>\n<h3>What it says of its drawings from before'
        f'</h3>\n<div class="questions">{said}</div>'
    )


def _curve(log: Path) -> str:
    """The velocity loss by step, as SVG."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    points = [(line["step"], line["flow_mse"]) for line in lines if "flow_mse" in line]
    if len(points) < 2:
        return "<p>Too few steps for a curve.</p>"
    last, top = points[-1][0], max(loss for _, loss in points)

    def place(step: float, loss: float) -> str:
        x = MARGIN + (CURVE_WIDTH - 2 * MARGIN) * step / last
        y = CURVE_HEIGHT - MARGIN - (CURVE_HEIGHT - 2 * MARGIN) * loss / top
        return f"{x:.1f},{y:.1f}"

    base = CURVE_HEIGHT - MARGIN
    return (
        f'<svg viewBox="0 0 {CURVE_WIDTH} {CURVE_HEIGHT}" role="img" aria-label="velocity loss">'
        f'<path d="M{MARGIN},{MARGIN} V{base} H{CURVE_WIDTH - MARGIN}"/>'
        f'<polyline points="{" ".join(place(*point) for point in points)}"/>'
        f'<text x="4" y="{MARGIN + 4}">{top:.2f}</text><text x="4" y="{base}">0</text>'
        f'<text x="{CURVE_WIDTH - MARGIN}" y="{CURVE_HEIGHT - 12}" text-anchor="end">'
        f"step {last}</text></svg>"
    )
