"""Every line of the parity table, for the report and for pytest alike."""

from check import Check
from drawing import decoder_checks, encoder_checks
from inputs import image_checks, text_checks
from layout import layout_checks
from reference import Reference
from seeing import question_checks, tower_checks
from velocity import path_checks, velocity_checks


def all_checks(reference: Reference) -> list[Check]:
    return [
        *layout_checks(reference),
        *image_checks(reference),
        *text_checks(reference),
        *tower_checks(reference),
        *question_checks(reference),
        *encoder_checks(reference),
        *decoder_checks(reference),
        *velocity_checks(reference),
        *path_checks(reference),
    ]
