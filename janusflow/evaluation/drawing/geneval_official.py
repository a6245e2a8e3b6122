"""GenEval's own judge: Mask2Former finds objects, CLIP names their colours.

It needs mmdet 2 and open_clip, and a folder with the detector's config and weights and with
GenEval's object_names.txt. Nobody has run this file yet: see docs/evaluation.md.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from janusflow.config.errors import ConfigError, NotFiniteError
from janusflow.evaluation.drawing.judges import Detection, own_device, require_package

DETECTOR = "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco"
NAMES = "object_names.txt"
CLIP, CLIP_WEIGHTS = "ViT-L-14", "openai"
COLOURS = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white"]
WORDINGS = ("a photo of a {c} {name}", "a photo of a {c}-colored {name}", "a photo of a {c} object")
GREY = "#999"
"""What is outside an object's mask."""


class OfficialJudge:
    """Mask2Former (Swin-S, COCO) and OpenAI's CLIP ViT-L/14."""

    def __init__(self, folder: str) -> None:
        names = (f"{DETECTOR}.py", f"{DETECTOR}.pth", NAMES)
        missing = [name for name in names if not folder or not (Path(folder) / name).is_file()]
        if missing:
            raise ConfigError(
                f"--judge official:{folder or 'FOLDER'}: wanted a folder with {', '.join(missing)} "
                "(see github.com/djghosh13/geneval), or plug in another with module:function."
            )
        apis = require_package("mmdet.apis", what="GenEval's detector")
        self.open_clip = require_package("open_clip", what="GenEval's classifier of colours")
        device = str(own_device())
        config, weights, objects = (str(Path(folder) / name) for name in names)
        self.detector = apis.init_detector(config, weights, device=device)
        self.inference_detector = apis.inference_detector
        self.names = Path(objects).read_text(encoding="utf-8").split("\n")
        self.clip, _, self.transform = self.open_clip.create_model_and_transforms(
            CLIP, pretrained=CLIP_WEIGHTS, device=device
        )
        self.classifier = cache(self._classifier)

    @property
    def device(self) -> torch.device:
        """Where CLIP's weights are: what it is shown and told goes there."""
        return next(self.clip.parameters()).device

    def detect(self, image: Image.Image) -> Mapping[str, Sequence[Detection]]:
        """Boxes and masks of COCO's 80 classes."""
        import numpy as np

        # OpenCV's order, as the detector reads files.
        boxes, masks = self.inference_detector(
            self.detector, np.asarray(image.convert("RGB"))[..., ::-1]
        )
        return {
            name.strip(): [
                Detection((box[0], box[1], box[2], box[3]), float(box[4]), np.asarray(mask, bool))
                for box, mask in zip(of_name, masks_of_name, strict=True)
            ]
            for name, of_name, masks_of_name in zip(self.names, boxes, masks, strict=False)
        }

    @torch.no_grad()
    def colours(self, image: Image.Image, objects: Sequence[Detection], name: str) -> Sequence[str]:
        """The likeliest of ten colours for every object, cut out along its mask."""
        image = image.convert("RGB")
        blank = Image.new("RGB", image.size, GREY)
        crops = []
        for each in objects:
            cut = image
            if each.mask is not None:
                cut = Image.composite(image, blank, Image.fromarray(each.mask))
            crops.append(self.transform(cut.crop(each.box)))
        features = self.clip.encode_image(torch.stack(crops).to(self.device))
        likeness = features @ self.classifier(name)
        if not likeness.isfinite().all():
            raise NotFiniteError(f"CLIP's likeness of {name} to colours is not finite: no verdict.")
        return [COLOURS[index] for index in likeness.argmax(-1).tolist()]

    @torch.no_grad()
    def _classifier(self, name: str) -> Any:
        """Unit vectors of colours, each the mean of its wordings' unit vectors."""
        tokenize = self.open_clip.get_tokenizer(CLIP)
        columns = []
        for colour in COLOURS:
            texts = tokenize([wording.format(c=colour, name=name) for wording in WORDINGS])
            vectors = self.clip.encode_text(texts.to(self.device))
            mean = (vectors / vectors.norm(dim=-1, keepdim=True)).mean(0)
            columns.append(mean / mean.norm())
        return torch.stack(columns, dim=1)
