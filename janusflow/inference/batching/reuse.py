"""What was computed once, kept for whoever asks for the same again, within a number of bytes."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class ReuseCache:
    """Values by their keys; where there are too many bytes, the least recently used go first.

    Values are shown, never copied: who finds one must not change it.

    Args:
        max_bytes: of all values together; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self.hits = 0
        self.misses = 0
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: Hashable) -> Any | None:
        """The value of a key, or None."""
        if key not in self._entries:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def keep(self, key: Hashable, value: Any, num_bytes: int) -> None:
        """Keep a value for a key that was not found; one larger than `max_bytes` is not kept."""
        if num_bytes > self.max_bytes:
            return
        self._entries[key] = value, num_bytes
        self.num_bytes += num_bytes
        while self.num_bytes > self.max_bytes:
            _, (_, gone) = self._entries.popitem(last=False)
            self.num_bytes -= gone
