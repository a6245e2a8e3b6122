"""The processor: conversations, prompts and images to what the model reads, token ids to text.

One object knows the tokenizer, the image tags, the chat template and the image transform. It reads
the release's folders and ours, and writes both. Embeddings and the begin-of-image token of drawing
are the model's business.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor
from transformers import BatchFeature, PreTrainedTokenizerFast, ProcessorMixin

from janusflow.config.errors import PromptError
from janusflow.processing.batches import (
    ConversationBatch,
    PromptBatch,
    expanded,
    left_padded,
    prompt_batch,
)
from janusflow.processing.conversations import read_conversation, with_images
from janusflow.processing.images import ImageInput, JanusFlowImageProcessor
from janusflow.processing.json_files import read_json, write_json
from janusflow.processing.processor_files import (
    PREPROCESSOR_FILE,
    PROCESSOR_FILE,
    RELEASE_NUM_IMAGE_TOKENS,
    ProcessorSettings,
    find_folder,
    read_settings,
    write_release_files,
)
from janusflow.processing.templates import (
    ASSISTANT,
    RELEASE_TEMPLATE,
    UNDERSTANDING_SYSTEM_PROMPT,
    USER,
    Message,
    find_template,
    format_conversation,
)
from janusflow.processing.tokenizer import (
    ImageTags,
    completed,
    id_of,
    load_tokenizer,
    write_release_tokenizer,
)

MessageLike = Mapping[str, Any]
"""A message in the release's or in OpenAI's shape (see conversations.py)."""


class JanusFlowProcessor(ProcessorMixin):
    """Everything between people's texts and images and the model's tensors."""

    image_processor: JanusFlowImageProcessor
    tokenizer: PreTrainedTokenizerFast

    def __init__(
        self,
        image_processor: JanusFlowImageProcessor,
        tokenizer: PreTrainedTokenizerFast,
        *,
        tags: ImageTags | None = None,
        num_image_tokens: int = RELEASE_NUM_IMAGE_TOKENS,
        template: str = RELEASE_TEMPLATE,
        system_prompt: str = UNDERSTANDING_SYSTEM_PROMPT,
    ) -> None:
        """Join the parts; a tokenizer that lacks tags is copied and completed."""
        self.settings = ProcessorSettings(
            tags=tags or ImageTags(),
            num_image_tokens=num_image_tokens,
            template=template,
            system_prompt=system_prompt,
        )
        super().__init__(image_processor, completed(tokenizer, self.settings.tags))

    # ---- seeing -------------------------------------------------------------------------------

    def conversations(
        self,
        conversations: Sequence[Sequence[MessageLike]],
        images: Sequence[Sequence[ImageInput]] | None = None,
        *,
        allow_paths: bool = True,
    ) -> ConversationBatch:
        """Conversations as one left-padded batch, the answers still to be given.

        Args:
            conversations: messages in the release's or OpenAI's shape, one list a conversation.
            images: for each conversation the images that its messages do not hold themselves.
            allow_paths: False refuses file paths inside messages (for messages from a network).
        """
        given = [()] * len(conversations) if images is None else images
        if len(given) != len(conversations):
            raise PromptError(
                f"got {len(conversations)} conversations but {len(given)} lists of images: give "
                "one list for each conversation"
            )
        texts, images = [], []
        for index, (messages, beside) in enumerate(zip(conversations, given, strict=True)):
            tag = self.settings.tags.image
            read = read_conversation(messages, image_tag=tag, allow_paths=allow_paths)
            texts.append(self._format(read.messages, system_prompt=read.system_prompt))
            images.append(with_images(read, beside, number=index + 1, image_tag=tag))
        return self._batch(texts, images)

    def _format(self, messages: Sequence[Message], *, system_prompt: str | None) -> str:
        default = self.settings.system_prompt
        return format_conversation(
            messages,
            system_prompt=default if system_prompt is None else system_prompt,
            template=self.settings.template,
            end_of_answer=str(self.tokenizer.eos_token),
        )

    def _batch(
        self, texts: Sequence[str], images: Sequence[Sequence[ImageInput]]
    ) -> ConversationBatch:
        if not texts:
            raise PromptError(f"got {len(texts)} conversations: give at least one")
        rows = [
            self._expand(self._encode(text), num_images=len(shown), number=index + 1)
            for index, (text, shown) in enumerate(zip(texts, images, strict=True))
        ]
        token_ids, attention_mask = left_padded(rows, pad_token_id=self.pad_token_id)
        in_order = [image for shown in images for image in shown]
        return ConversationBatch(
            token_ids=token_ids,
            attention_mask=attention_mask,
            pixel_values=self.image_processor.preprocess(in_order) if in_order else None,
            images_per_row=tuple(len(shown) for shown in images),
        )

    def _expand(self, token_ids: list[int], *, num_images: int, number: int) -> list[int]:
        """Put an image's span in place of each placeholder.

        The model lays an image's features on every start and placeholder id it meets, so a stray
        one would shift them all; the release crashes there.
        """
        tags = self.settings.tags
        if self.image_start_token_id in token_ids:
            raise PromptError(
                f"conversation {number} has {tags.start} in its text, which belongs to the model: "
                f"write {tags.image} where an image goes"
            )
        num_placeholders = token_ids.count(self.image_token_id)
        if num_placeholders != num_images:
            raise PromptError(
                f"conversation {number} has {num_placeholders} {tags.image} but {num_images} "
                "images: give one image for each, in reading order"
            )
        patches = [self.image_token_id] * self.settings.num_image_tokens
        span = [self.image_start_token_id, *patches, self.image_end_token_id]
        return expanded(token_ids, placeholder=self.image_token_id, span=span)

    # ---- drawing ------------------------------------------------------------------------------

    def prompts(self, prompts: Sequence[str]) -> PromptBatch:
        """Prompts for drawing as one left-padded batch, without begin-of-image token."""
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if not prompts:
            raise PromptError(f"got {len(prompts)} prompts: give at least one")
        rows = [self._prompt_ids(prompt) for prompt in prompts]
        return prompt_batch(rows, pad_token_id=self.pad_token_id)

    def _prompt_ids(self, prompt: str) -> list[int]:
        asked = (Message(role=USER, content=prompt), Message(role=ASSISTANT, content=""))
        token_ids = self._encode(self._format(asked, system_prompt=""))
        for tag in self.settings.tags.in_order:
            if id_of(self.tokenizer, tag) in token_ids:
                raise PromptError(f"the prompt {prompt!r:.80} holds {tag}: describe in words only")
        return token_ids

    # ---- tokens -------------------------------------------------------------------------------

    def _encode(self, text: str) -> list[int]:
        # The release's tokenizer wrapper prepends the begin token; not every tokenizer.json does.
        return [self.bos_token_id, *self.tokenizer.encode(text, add_special_tokens=False)]

    def decode(
        self,
        token_ids: Sequence[int] | Int[Tensor, " t"],
        skip_special_tokens: bool = True,
    ) -> str:
        """Text of one answer's token ids."""
        ids = token_ids.tolist() if isinstance(token_ids, Tensor) else list(token_ids)
        return str(self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))

    @property
    def bos_token_id(self) -> int:
        """Begins every text."""
        return id_of(self.tokenizer, str(self.tokenizer.bos_token))

    @property
    def eos_token_id(self) -> int:
        """Ends every answer."""
        return id_of(self.tokenizer, str(self.tokenizer.eos_token))

    @property
    def pad_token_id(self) -> int:
        """Fills rows up; always masked."""
        return id_of(self.tokenizer, str(self.tokenizer.pad_token))

    @property
    def image_token_id(self) -> int:
        """Stands where a patch's features go."""
        return id_of(self.tokenizer, self.settings.tags.image)

    @property
    def image_start_token_id(self) -> int:
        """Stands where the begin-of-understanding embedding goes."""
        return id_of(self.tokenizer, self.settings.tags.start)

    @property
    def image_end_token_id(self) -> int:
        """Follows an image's patches."""
        return id_of(self.tokenizer, self.settings.tags.end)

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Where an answer that runs on into the next turn must be cut."""
        return find_template(self.settings.template).stop_strings

    # ---- transformers' conventions ------------------------------------------------------------

    def __call__(
        self,
        images: ImageInput | Sequence[ImageInput] | None = None,
        text: str | Sequence[str] | None = None,
        *,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """Formatted texts (see `apply_chat_template`) and their images, all in reading order."""
        _check_torch(return_tensors)
        shown = (
            [] if images is None else [images] if isinstance(images, ImageInput) else list(images)
        )
        if text is None:
            return self.image_processor(shown)
        texts = [text] if isinstance(text, str) else list(text)
        counts = [one.count(self.settings.tags.image) for one in texts]
        if sum(counts) != len(shown):
            raise PromptError(
                f"the texts have {sum(counts)} {self.settings.tags.image} but {len(shown)} "
                "images were given: give one image for each, in reading order"
            )
        rest = iter(shown)
        return _as_feature(self._batch(texts, [[next(rest) for _ in range(n)] for n in counts]))

    def apply_chat_template(
        self,
        conversation: Sequence[MessageLike],
        *,
        add_generation_prompt: bool = True,
        tokenize: bool = False,
        return_dict: bool = True,
        return_tensors: str = "pt",
    ) -> str | BatchFeature | Int[Tensor, "1 t"]:
        """One conversation as text, or with `tokenize` as the tensors the model reads."""
        if tokenize:
            _check_torch(return_tensors)
            feature = _as_feature(self.conversations([conversation]))
            return feature if return_dict else feature["input_ids"]
        read = read_conversation(
            conversation,
            image_tag=self.settings.tags.image,
            ask_for_answer=add_generation_prompt,
        )
        return self._format(read.messages, system_prompt=read.system_prompt)

    @property
    def model_input_names(self) -> list[str]:
        """What a call returns."""
        return ["input_ids", "attention_mask", "pixel_values"]

    # ---- files --------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        **_ignored: Any,  # what transformers' Auto classes pass along
    ) -> "JanusFlowProcessor":
        """Read a folder in the release's layout or in ours, or a hub id."""
        folder = find_folder(
            pretrained_model_name_or_path, revision=revision, local_files_only=local_files_only
        )
        settings = read_settings(folder)
        processor = cls(
            JanusFlowImageProcessor(**read_json(folder / PREPROCESSOR_FILE)),
            load_tokenizer(folder),
            tags=settings.tags,
        )
        processor.settings = settings
        return processor

    def to_dict(self) -> dict[str, Any]:
        """The content of our processor_config.json."""
        ours = {
            "system_prompt": self.settings.system_prompt,
            "processor_class": type(self).__name__,
        }
        return {**self.settings.to_dict(), **ours}

    def save_pretrained(self, save_directory: str | Path, **_ignored: Any) -> None:
        """Write our layout: tokenizer, preprocessor_config.json, processor_config.json."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)
        write_json(self.to_dict(), folder / PROCESSOR_FILE)

    def save_release_layout(self, folder: str | Path) -> None:
        """Write the same processor as the authors' code reads it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_release_files(self.settings, self.image_processor.to_dict(), folder)
        write_release_tokenizer(self.tokenizer, self.settings.tags, folder)


def _as_feature(batch: ConversationBatch) -> BatchFeature:
    tensors = {"input_ids": batch.token_ids, "attention_mask": batch.attention_mask}
    if batch.pixel_values is not None:
        tensors["pixel_values"] = batch.pixel_values
    return BatchFeature(tensors)


def _check_torch(return_tensors: str) -> None:
    if return_tensors != "pt":
        raise PromptError(f"got return_tensors={return_tensors!r}: use 'pt', torch tensors")
