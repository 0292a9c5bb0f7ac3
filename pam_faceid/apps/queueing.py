"""Whose turn it is, and who asks too often."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

MOST_REMEMBERED: Final = 4096  # callers; names that are asked for may be a stranger's choice

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Waiting items, taken from one caller after the other, each caller's in their order.

    Args:
        most: Items in all.
        most_each: Items of one caller.
    """

    def __init__(self, *, most: int, most_each: int) -> None:
        self._most = most
        self._most_each = most_each
        self._waiting: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, caller: Hashable, item: T) -> bool:
        """Add at the caller's end; False when there is no room."""
        items = self._waiting.get(caller, deque())
        if self._length >= self._most or len(items) >= self._most_each:
            return False
        items.append(item)
        self._waiting.setdefault(caller, items)
        self._length += 1
        return True

    def take(self) -> T | None:
        """Return whose turn it is, or None."""
        if not self._waiting:
            return None
        caller, items = self._waiting.popitem(last=False)
        self._length -= 1
        item = items.popleft()
        if items:
            self._waiting[caller] = items  # behind all the others
        return item

    def remove(self, caller: Hashable, item: T) -> None:
        """Give up a place. Raises KeyError, ValueError when there is none."""
        self._waiting[caller].remove(item)
        self._length -= 1
        if not self._waiting[caller]:
            del self._waiting[caller]


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimit:
    """A bucket of tokens for each caller.

    Args:
        burst: Requests at once.
        per_second: Requests in the long run.
        clock: Monotonic seconds.
    """

    def __init__(self, *, burst: int, per_second: float, clock: Callable[[], float]) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        """How many callers are remembered."""
        return len(self._buckets)

    def allows(self, caller: Hashable) -> bool:
        """Take a token; False when there is none left."""
        now = self._clock()
        bucket = self._buckets.setdefault(caller, _Bucket(self._burst, now))
        self._buckets.move_to_end(caller)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._per_second)
        bucket.at = now
        self._forget(now)
        if not bucket.tokens >= 1:
            return False
        bucket.tokens -= 1
        return True

    def _forget(self, now: float) -> None:
        """Forget, of those who have been quiet for longest, whose bucket is full again."""
        full_after = self._burst / self._per_second
        while self._buckets:
            caller, bucket = next(iter(self._buckets.items()))
            if now - bucket.at < full_after and len(self._buckets) <= MOST_REMEMBERED:
                return
            del self._buckets[caller]
