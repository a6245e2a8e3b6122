"""The processor: conversations, prompts and images to what the model reads, token ids to text.

A `ProcessorMixin` of transformers: calling it, `apply_chat_template`, loading and saving are the
library's, over our image processor and our chat template. `conversations` and `prompts` are short
ways for the two halves of the model. It reads the release's folders and ours, and writes both.
Embeddings and the begin-of-image token of drawing are the model's business.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import BatchFeature, PreTrainedTokenizerFast, ProcessorMixin
from transformers.processing_utils import MultiModalData, ProcessingKwargs, TextKwargs

from janusflow.config.errors import ConfigError, PromptError
from janusflow.processing.conversations import (
    Conversation,
    is_conversation,
    read_conversation,
    with_images,
)
from janusflow.processing.images import ImageInput, JanusFlowImageProcessor, flat_images
from janusflow.processing.processor_files import ProcessorFiles
from janusflow.processing.templates import (
    RELEASE_FORMAT,
    UNDERSTANDING_SYSTEM_PROMPT,
    USER,
    build_chat_template,
    question_text,
)
from janusflow.processing.tokenizer import (
    IMAGE_TAGS,
    check_unicode,
    completed,
    encode_text,
    id_of,
)

RELEASE_NUM_IMAGE_TOKENS = 576
"""Patches that the release's understanding tower makes of an image."""

KNOWN_KEYWORDS = {"common_kwargs", *ProcessingKwargs.__annotations__}.union(
    *(getattr(each, "__annotations__", ()) for each in ProcessingKwargs.__annotations__.values())
)
"""What calling a processor knows, by the library's types."""

MessageLike = Any
"""A message in the release's or in OpenAI's shape: a dict or an object (see conversations.py)."""


# diffusers looks in a class's own module for the base class that says how to load it.
class JanusFlowProcessor(ProcessorFiles, ProcessorMixin):
    """Everything between people's texts and images and the model's tensors."""

    image_processor: JanusFlowImageProcessor
    tokenizer: PreTrainedTokenizerFast

    text_kwargs = TextKwargs(padding=True, return_tensors="pt")

    def __init__(  # noqa: PLR0913 (the keys of the release's processor_config.json)
        self,
        image_processor: JanusFlowImageProcessor,
        tokenizer: PreTrainedTokenizerFast,
        chat_template: str | dict[str, str] | None = None,
        num_image_tokens: int = RELEASE_NUM_IMAGE_TOKENS,
        sft_format: str = RELEASE_FORMAT,
        system_prompt: str = UNDERSTANDING_SYSTEM_PROMPT,
        image_tag: str = IMAGE_TAGS["image_tag"],
        image_gen_tag: str = IMAGE_TAGS["image_gen_tag"],
        image_start_tag: str = IMAGE_TAGS["image_start_tag"],
        image_end_tag: str = IMAGE_TAGS["image_end_tag"],
        add_special_token: bool = False,
        ignore_id: int = -100,
        mask_prompt: bool = True,
    ) -> None:
        """Join the parts; a tokenizer that lacks tags is copied and completed.

        Args:
            image_processor: makes pixel values of images.
            tokenizer: knows the begin and end tokens at least.
            chat_template: instead of the one that `sft_format` and `system_prompt` make.
            num_image_tokens: patches the understanding tower makes of an image.
            sft_format: "deepseek", "deepseek_old" or "plain".
            system_prompt: default for conversations; prompts for drawing have none.
            image_tag, image_gen_tag, image_start_tag, image_end_tag: see IMAGE_TAGS.
            add_special_token, ignore_id, mask_prompt: written by the release, read by nobody.
        """
        if not isinstance(num_image_tokens, int) or num_image_tokens < 1:
            raise ConfigError(
                f"got num_image_tokens={num_image_tokens!r}: give the number of patches the "
                "understanding tower makes of an image"
            )
        self.num_image_tokens = num_image_tokens
        self.sft_format = sft_format
        self.system_prompt = system_prompt
        self.image_tag, self.image_gen_tag = image_tag, image_gen_tag
        self.image_token = image_tag
        """What transformers calls it."""
        self.image_start_tag, self.image_end_tag = image_start_tag, image_end_tag
        self.add_special_token = add_special_token
        self.ignore_id, self.mask_prompt = ignore_id, mask_prompt
        if chat_template is None:
            chat_template = build_chat_template(
                sft_format=sft_format, system_prompt=system_prompt, image_tag=image_tag
            )
        tags = {key: getattr(self, key) for key in IMAGE_TAGS}
        tokenizer = completed(tokenizer, tags, chat_template=chat_template)
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        self.bos_token_id = id_of(tokenizer, str(tokenizer.bos_token))
        self.eos_token_id = id_of(tokenizer, str(tokenizer.eos_token))
        self.pad_token_id = id_of(tokenizer, str(tokenizer.pad_token))
        self.image_token_id = id_of(tokenizer, image_tag)
        self.image_start_token_id = id_of(tokenizer, image_start_tag)
        self.image_end_token_id = id_of(tokenizer, image_end_tag)

    # ---- short ways ---------------------------------------------------------------------------

    def conversations(
        self,
        conversations: Sequence[Sequence[MessageLike]],
        images: Sequence[Sequence[ImageInput]] | None = None,
        *,
        allow_paths: bool = True,
        continue_final_message: bool = False,
    ) -> BatchFeature:
        """Conversations as one left-padded batch, up to where the next answer is to begin.

        Args:
            conversations: messages in the release's or OpenAI's shape, one list a conversation.
            images: for each conversation the images that its messages do not hold themselves.
            allow_paths: False refuses file paths inside messages (for messages from a network).
            continue_final_message: a last message of the assistant's is an answer that goes on;
                otherwise it is closed, and nothing is asked for.

        Returns:
            `input_ids` and `attention_mask` [b, t], and `pixel_values` [n, c, y, x] of all images
            in reading order where there are any.
        """
        if not conversations:
            raise PromptError(f"got {len(conversations)} conversations: give at least one")
        given = [()] * len(conversations) if images is None else images
        if len(given) != len(conversations):
            raise PromptError(
                f"got {len(conversations)} conversations but {len(given)} lists of images: give "
                "one list for each conversation"
            )
        texts, shown = [], []
        for number, (messages, beside) in enumerate(zip(conversations, given, strict=True), 1):
            read = self._read(messages, number=number, allow_paths=allow_paths)
            texts += super().apply_chat_template(
                [read.with_system()],
                add_generation_prompt=not read.is_answered,
                continue_final_message=read.is_answered and continue_final_message,
            )
            shown.append(with_images(read, beside, number=number, image_tag=self.image_tag))
        return self(text=texts, images=shown if any(shown) else None)

    def prompts(self, prompts: str | Sequence[str]) -> BatchFeature:
        """Prompts for drawing as one left-padded batch, without begin-of-image token.

        Returns:
            `input_ids` and `attention_mask` [b, t].
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        if not texts:
            raise PromptError(f"got {len(texts)} prompts: give at least one")
        for text in texts:
            if not isinstance(text, str):
                raise PromptError(f"got a {type(text).__name__} as prompt: give a text")
            encode_text(self.tokenizer.backend_tokenizer, text)
        formatted = list(map(question_text, texts))
        batch = self.tokenizer(formatted, padding=True, return_tensors="pt")
        return BatchFeature(
            {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        )

    def _read(self, messages: Any, *, number: int, allow_paths: bool = True) -> Conversation:
        """A conversation as it is meant, without special tokens in its texts."""
        read = read_conversation(messages, image_tag=self.image_tag, allow_paths=allow_paths)
        for turn in read.with_system():
            allowed = (self.image_tag,) if turn["role"] == USER else ()
            try:
                encode_text(self.tokenizer.backend_tokenizer, turn["content"], allowed=allowed)
            except PromptError as error:
                raise PromptError(f"conversation {number}: {error}") from None
        return read

    # ---- transformers' conventions ------------------------------------------------------------

    def apply_chat_template(
        self,
        conversation: Sequence[Any],
        chat_template: str | None = None,
        tools: list[Any] | None = None,
        documents: list[Any] | None = None,
        *,
        add_generation_prompt: bool = False,
        processor_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """One conversation or several as text, or with `tokenize=True` as token ids.

        Messages may have either shape that `conversations` reads. With a `chat_template` of your
        own they reach it as they are. All other arguments are transformers'.
        """
        if chat_template is not None:
            return super().apply_chat_template(
                list(conversation),
                chat_template,
                tools,
                documents,
                add_generation_prompt=add_generation_prompt,
                processor_kwargs=dict(processor_kwargs or {}),
                **options,
            )
        for name, value in (("tools", tools), ("documents", documents)):
            if value:
                raise PromptError(f"got {name}={value!r:.60}: the model knows none, leave them out")
        is_one = is_conversation(conversation)
        kwargs = dict(processor_kwargs or {})
        batch = [conversation] if is_one else conversation
        given = kwargs.pop("images", None)
        given = [()] * len(batch) if given is None else [given] if is_one else given
        messages, images = [], []
        for number, one in enumerate(batch, 1):
            read = self._read(one, number=number)
            if add_generation_prompt and read.is_answered:
                raise PromptError(
                    f"conversation {number} ends with the assistant's message: to let it go on, "
                    "pass add_generation_prompt=False and continue_final_message=True"
                )
            messages.append(read.with_system())
            if options.get("tokenize"):
                beside = flat_images(given[number - 1])
                images.append(with_images(read, beside, number=number, image_tag=self.image_tag))
        if any(images):
            kwargs["images"] = images[0] if is_one else images
        return super().apply_chat_template(
            messages[0] if is_one else messages,
            add_generation_prompt=add_generation_prompt,
            processor_kwargs=kwargs,
            **options,
        )

    def __call__(
        self, images: Any = None, text: str | list[str] | None = None, **options: Any
    ) -> BatchFeature:
        """Formatted texts (see `apply_chat_template`) and their images as the model reads them.

        Args:
            images: of any kind (see `ImageInput`), in reading order, or a list for each text.
            text: one or several, with `image_token` where an image goes.
            **options: transformers' (`padding`, `max_length`, `return_tensors`, ...).
        """
        return super().__call__(images=images, text=text, **options)

    def validate_inputs(
        self,
        images: Any = None,
        text: Any = None,
        videos: Any = None,
        audio: Any = None,
        **kwargs: Any,
    ) -> None:
        """Refuse what would be swallowed or misplace an image; transformers calls this first.

        Raises:
            PromptError: nothing to process, unknown arguments, or texts and images that do not fit.
        """
        unknown = sorted(set(kwargs) - KNOWN_KEYWORDS)
        for name, value in (("videos", videos), ("audio", audio)):
            unknown += [] if value is None else [name]
        if unknown:
            raise PromptError(f"got {', '.join(unknown)}: the processor knows none such")
        if text is None and images is None:
            raise PromptError("got text=None and images=None: give one of them at least")
        for number, one in enumerate(text or (), 1):
            if not isinstance(one, str):
                raise PromptError(f"got a {type(one).__name__} as text {number}: give a text")
            check_unicode(one)
            for tag in (self.image_start_tag, self.image_end_tag):
                if tag in one:
                    raise PromptError(
                        f"text {number} holds {tag}, a mark of the model's: write {self.image_tag} "
                        "where an image goes"
                    )
        tags = [one.count(self.image_tag) for one in text or ()]
        if text is not None and (images is not None or any(tags)):
            self._check_counts(tags, images)

    def _check_counts(self, wanted: list[int], images: Any) -> None:
        """Every placeholder has its image: text by text where images are nested, else in all."""
        shown = [] if images is None else images if isinstance(images, list | tuple) else [images]
        found = [len(flat_images(each)) for each in shown]
        if len(found) != len(wanted) or not any(isinstance(each, list | tuple) for each in shown):
            wanted, found = [sum(wanted)], [sum(found)]
        for number, (tags, given) in enumerate(zip(wanted, found, strict=True), 1):
            if tags != given:
                which = f"text {number} has" if len(wanted) > 1 else "the texts have"
                raise PromptError(
                    f"{which} {tags} {self.image_tag} but {given} images: the number of such "
                    "tokens in the prompts should be the same as the number of images"
                )

    def _process_images(self, images: Any, **kwargs: Any) -> tuple[BatchFeature, list[str]]:
        number = len(flat_images(images))
        features = self.image_processor(images, **kwargs) if number else BatchFeature({})
        return features, [self.replace_image_token(features, index) for index in range(number)]

    def replace_image_token(
        self,
        image_inputs: Any,  # noqa: ARG002 (transformers calls it so)
        image_idx: int,  # noqa: ARG002
        **_kwargs: Any,
    ) -> str:
        """What stands in a text for an image: its begin, its patches, its end."""
        return self.image_start_tag + self.image_tag * self.num_image_tokens + self.image_end_tag

    def _get_num_multimodal_tokens(
        self, image_sizes: Sequence[Any] | None = None, **_kwargs: Any
    ) -> MultiModalData:
        """Placeholders of images of these sizes, as many for every size; vLLM asks for them."""
        if image_sizes is None:
            return MultiModalData()
        number = len(image_sizes)
        return MultiModalData(
            num_image_tokens=[self.num_image_tokens] * number, num_image_patches=[1] * number
        )

    def decode(self, token_ids: Any, skip_special_tokens: bool = True, **options: Any) -> Any:
        """Text of one answer's token ids, or of several's; special tokens are left out."""
        return self.tokenizer.decode(token_ids, skip_special_tokens=skip_special_tokens, **options)
