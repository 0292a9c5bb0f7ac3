"""Making hostile input: seeded, so that CI tries the same each time and any input can be had again.

`FUZZ_SECONDS=3600 pytest tests/fuzz` tries new input for an hour a target in place of the fixed
number that CI tries; `make fuzz SECONDS=3600` does so. See docs/fuzzing.md.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
EXAMPLES = int(SECONDS * 50) or 300  # of hypothesis, which finds the values that a format needs
TALLY = os.environ.get("FUZZ_TALLY", "")  # a file that gets one line of JSON a target
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 32767, 65535, 2**31 - 1)


def tries(target: str, *, count: int) -> Iterator[random.Random]:
    """Yield a seeded source of chance for each try.

    Args:
        target: Its name, for the tally.
        count: Tries in CI, of seeds 0, 1, 2, ...; with `FUZZ_SECONDS` as many as fit, of new seeds.
    """
    started = time.monotonic()
    first = secrets.randbits(48) if SECONDS else 0
    done = 0
    try:
        for seed in itertools.count(first):
            if time.monotonic() - started >= SECONDS if SECONDS else done >= count:
                return
            done += 1
            yield Chance(seed)
    finally:
        if TALLY:
            entry = {"target": target, "tries": done, "seconds": time.monotonic() - started}
            with Path(TALLY).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry | {"first_seed": first}) + "\n")


class Chance(random.Random):
    """A source of chance that says its seed when a failure shows it.

    Args:
        seed: Makes the same choices again.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._first = seed

    def __repr__(self) -> str:
        return f"Chance({self._first})"


def mutate(chance: random.Random, corpus: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Return a file of the corpus with one to many changes.

    Args:
        words: Pieces of the format, put in here and there.
    """
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.choice((1, 1, 2, 3, 5, 12, 40))):
        # Formats keep what matters at their beginning.
        reach = len(data) if chance.random() < 0.5 else min(len(data), 64)
        at = chance.randint(0, reach)
        data = _change(chance, data, at, corpus, words)
    return bytes(data)


def _change(
    chance: random.Random,
    data: bytearray,
    at: int,
    corpus: Sequence[bytes],
    words: Sequence[bytes],
) -> bytearray:
    length = chance.choice((1, 2, 4, 8, 32, chance.randint(0, 300)))
    kind = chance.randrange(8)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << chance.randrange(8)
    elif kind == 1:
        data[at : at + length] = chance.randbytes(length)
    elif kind == 2:
        del data[at : at + length]
    elif kind == 3:
        data[at:at] = data[at : at + length] * chance.choice((1, 2, 50))
    elif kind == 4:
        size = chance.choice((1, 2, 4, 8))
        number = chance.choice(NUMBERS) & ((1 << 8 * size) - 1)
        data[at : at + size] = number.to_bytes(size, chance.choice(("little", "big")))
    elif kind == 5:
        word = chance.choice(words)
        data[at : at + len(word) * chance.randrange(2)] = word
    elif kind == 6:
        del data[at:]
    else:
        other = chance.choice(corpus)
        start = chance.randint(0, len(other))
        data[at:at] = other[start : start + length]
    return data
