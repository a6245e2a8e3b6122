"""transformers' ModelTesterMixin over a tiny JanusFlow."""

import unittest

from suite import GenerationTesterMixin
from tiny_model import tiny_config
from transformers.testing_utils import torch_device
from transformers_tests.test_configuration_common import ConfigTester
from transformers_tests.test_modeling_common import ModelTesterMixin, floats_tensor, ids_tensor

from janusflow import JanusFlowConfig, JanusFlowForConditionalGeneration

TEXT_LENGTH = 7


class JanusFlowModelTester:
    """What the mixin asks for; see transformers' LlavaNextModelTester and its like."""

    batch_size = 7
    """As many as the comparisons of attention want: they fill up with random tokens otherwise."""
    is_training = True

    def __init__(self, parent: unittest.TestCase) -> None:
        self.parent = parent
        config = self.get_config()
        vision, llm = config.vision_config, config.llm_config
        self.num_channels, self.image_size = vision.num_channels, vision.image_size
        self.num_image_tokens = (vision.image_size // vision.patch_size) ** 2 + 1
        self.seq_length = self.encoder_seq_length = TEXT_LENGTH + self.num_image_tokens
        self.vocab_size, self.hidden_size = llm.vocab_size, llm.hidden_size
        self.num_hidden_layers = llm.num_hidden_layers
        self.num_attention_heads = llm.num_attention_heads
        self.pad_token_id, self.image_token_id = config.pad_token_id, config.image_token_id

    def get_config(self) -> JanusFlowConfig:
        return tiny_config()

    def prepare_config_and_inputs_for_common(self):
        """One image before each row's words."""
        config = self.get_config()
        first_word = config.image_end_token_id + 1
        input_ids = ids_tensor([self.batch_size, self.seq_length], self.vocab_size - first_word)
        input_ids += first_word
        input_ids[:, 0] = config.image_start_token_id
        input_ids[:, 1 : self.num_image_tokens] = config.image_token_id
        return config, {
            "input_ids": input_ids,
            "attention_mask": input_ids.ne(config.pad_token_id).long().to(torch_device),
            "pixel_values": floats_tensor(
                [self.batch_size, self.num_channels, self.image_size, self.image_size]
            ),
        }


class JanusFlowModelTest(ModelTesterMixin, GenerationTesterMixin, unittest.TestCase):
    all_model_classes = (JanusFlowForConditionalGeneration,)
    additional_model_inputs = ("pixel_values",)
    _is_composite = True
    # forward() sees and reads: the generation path and the tower's pooling head have no part in it.
    test_all_params_have_gradient = False

    def setUp(self):
        self.model_tester = JanusFlowModelTester(self)
        self.config_tester = ConfigTester(
            self,
            config_class=JanusFlowConfig,
            has_text_modality=False,
            common_properties=["hidden_size", "image_token_id"],
        )

    def _prepare_for_class(
        self, inputs_dict: dict, model_class: type, return_labels: bool = False
    ) -> dict:
        # transformers looks in a list of its own models what the labels are.
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=False)
        return inputs | ({"labels": inputs["input_ids"].clone()} if return_labels else {})

    def test_config(self):
        self.config_tester.run_common_tests()
