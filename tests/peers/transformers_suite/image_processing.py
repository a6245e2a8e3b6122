"""transformers' ImageProcessingTestMixin over the tower's image processor."""

import unittest
from typing import ClassVar

from transformers_tests.test_image_processing_common import (
    ImageProcessingTester,
    ImageProcessingTestMixin,
)

from janusflow.processing.images import JanusFlowImageProcessor


class JanusFlowImageProcessingTester(ImageProcessingTester):
    """Small squares, so that it is quick."""

    size: ClassVar = {"height": 64, "width": 64}

    def prepare_image_processor_dict(self):
        return {"size": self.size}

    def _get_image_processing_classes(self):
        # transformers looks in a list of its own models.
        return {"pil": JanusFlowImageProcessor}


class JanusFlowImageProcessingTest(ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = JanusFlowImageProcessingTester
