"""What a user can get wrong. Each message is one line: what was got, what was wanted, what to do.

The command line prints the message without a traceback; anything else that escapes is our own bug.
"""


class JanusFlowError(Exception):
    """A mistake of the caller or of the outside world, explained in one line."""


class ConfigError(JanusFlowError):
    """A setting is unknown, out of range or contradicts another one."""


class CheckpointError(JanusFlowError):
    """A model folder or weight file is missing, incomplete or does not fit."""


class ImageError(JanusFlowError):
    """An image cannot be read or is refused as hostile."""


class PromptError(JanusFlowError, ValueError):
    """A prompt or conversation does not fit the model or its images."""


class TrainingError(JanusFlowError, FloatingPointError):
    """A loss or gradient is no number any more; the settings are too bold."""


class BusyError(JanusFlowError):
    """More was asked for at once than may wait; later there will be room."""


class ClosedError(JanusFlowError):
    """What was to take a request has ended: nobody would serve it."""


class NotFiniteError(JanusFlowError, FloatingPointError):
    """What the model computed is not a finite number, and so no image, answer or score."""


class DataError(JanusFlowError):
    """A data file or sample is not what the recipe asked for."""


class StreamError(JanusFlowError):
    """Data that is read as it comes breaks off; no row of it is to blame."""


NO_MEMORY = ("cannot allocate memory", "can't allocate memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this says that memory is short: torch has no type for it that holds everywhere."""
    told = str(error).lower()
    return isinstance(error, MemoryError) or any(words in told for words in NO_MEMORY)
