"""transformers' ProcessorTesterMixin over mini's processor."""

import unittest

from transformers_tests.test_processing_common import ProcessorTesterMixin

from janusflow import JanusFlowProcessor
from janusflow.interop.hub import find_model


class JanusFlowProcessorTest(ProcessorTesterMixin, unittest.TestCase):
    processor_class = JanusFlowProcessor
    model_id = str(find_model("mini"))
    # Two texts with an image of mini's 64 tokens each are no longer.
    images_unstructured_max_length = 100

    @staticmethod
    def prepare_processor_dict() -> dict:
        # A processor that is made of its parts knows nothing of the model's own settings.
        return {"num_image_tokens": 64, "system_prompt": ""}
