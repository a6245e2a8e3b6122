"""The generation encoder and decoder, and their parts, at every size of the set."""

from functools import cache
from typing import Any

import torch
from check import FLOAT32, Check, Measure, error, summary_error
from reference import Reference
from torch import Tensor

TIME_SCALE = 1000.0
SIZES = ("8", "rect", "48")


def encoder_checks(reference: Reference) -> list[Check]:
    wanted, notes = reference.tensors("gen_encoder"), reference.meta["files"]["gen_encoder"]

    def check(quantity: str, measure: Measure) -> Check:
        return Check(group="gen_encoder", quantity=quantity, tolerance=FLOAT32, measure=measure)

    @cache
    @torch.no_grad()
    def encoded(size: str) -> Any:
        t = wanted[f"t_{size}"] / TIME_SCALE
        return reference.small.generation_encoder(wanted[f"z_{size}"], t)

    @torch.no_grad()
    def sinusoids() -> Tensor:
        time_embedding = reference.small.generation_encoder.time_embedding
        return time_embedding.sinusoids(wanted["t_8"] / TIME_SCALE)

    @torch.no_grad()
    def block() -> Tensor:
        block = reference.small.generation_encoder.blocks[0]
        return block(wanted["block_in"], wanted["block_cond"])

    @torch.no_grad()
    def response_norm() -> Tensor:
        grid = reference.array("grn_in", tuple(notes["grn_in_check"]["shape"]))
        return reference.small.generation_encoder.blocks[0].response_norm(grid)[..., ::4]

    return [
        check("sinusoids", lambda: error(sinusoids(), wanted["time_proj_8"])),
        *[
            check(
                f"time_embed_{size}",
                lambda size=size: error(encoded(size).time_embed, wanted[f"t_emb_{size}"]),
            )
            for size in SIZES
        ],
        *[
            check(
                f"features_{size}",
                lambda size=size: error(encoded(size).features, wanted[f"x_emb_{size}"]),
            )
            for size in ("8", "rect")
        ],
        check(
            "features_48, every 4th channel",
            lambda: error(encoded("48").features[:, ::4], wanted["x_emb_48_channels_every4"]),
        ),
        check(
            "features_48, whole",
            lambda: summary_error(encoded("48").features, notes["x_emb_48_full"]),
        ),
        check("ConvNeXt block", lambda: error(block(), wanted["block_out"])),
        check("response norm", lambda: error(response_norm(), wanted["grn_out_every4"])),
    ]


def decoder_checks(reference: Reference) -> list[Check]:
    wanted, notes = reference.tensors("gen_decoder"), reference.meta["files"]["gen_decoder"]

    def given(name: str) -> Tensor:
        if name in wanted:
            return wanted[name]
        return reference.array(f"dec_{name}", tuple(notes[f"{name}_check"]["shape"]))

    @torch.no_grad()
    def velocity(size: str) -> Tensor:
        return reference.small.generation_decoder(
            given(f"hidden_{size}"), given(f"skip_{size}"), wanted[f"t_emb_{size}"]
        )

    return [
        Check(
            group="gen_decoder",
            quantity=f"velocity_{size}",
            tolerance=FLOAT32,
            measure=lambda size=size: error(velocity(size), wanted[f"v_{size}"]),
        )
        for size in SIZES
    ]
