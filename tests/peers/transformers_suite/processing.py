"""transformers' ProcessorTesterMixin over mini's processor."""

import unittest

from transformers_tests.test_processing_common import ProcessorTesterMixin

from janusflow import JanusFlowProcessor
from janusflow.inference.loading import find_model


class JanusFlowProcessorTest(ProcessorTesterMixin, unittest.TestCase):
    processor_class = JanusFlowProcessor
    model_id = str(find_model("mini"))
