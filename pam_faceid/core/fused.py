"""A matcher that knows how strangers spread: the centre and the nearest look, in both spreads.

Strangers' scores scatter more about some templates than about others, and more for some probes. How
much follows from the covariance of many people's embeddings, so a score is measured in the spread
that strangers have with this template and with this probe, and means the same for everybody. The
result is the mean of that for the centre of all references and for the nearest look's centre.

Imports no numpy: the keeper compares without it.

Source: the normalisation is that of Auckenthaler, Carey and Lloyd-Thomas, "Score Normalization for
Text-Independent Speaker Verification Systems" (2000), for a normal cohort.
"""

from __future__ import annotations

import binascii
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import mul
from typing import Final

import msgspec

from pam_faceid.core.errors import ModelError

# Whichever of the two has put it there.
REINSTALL: Final = (
    "run install.sh again, or with the package: apt-get install --reinstall pam-faceid"
)
Vector = Sequence[float]


class Spread(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the embeddings of many people spread, measured by `python -m benchmarks.spread`.

    Args:
        data: The images that it was measured on.
        date: When, ISO 8601.
        people: One image of each.
        mean: D numbers of 2 bytes, in Base64.
        covariance: Its rows up to the diagonal, D (D + 1) / 2 numbers times D, written the same.
        usual: Geometric mean over people of the spread that strangers' scores have.
    """

    data: str
    date: str
    people: int
    mean: str
    covariance: str
    usual: float

    def __post_init__(self) -> None:
        # Written so that NaN is refused. The rest is looked at when it is needed.
        if not self.usual > 0.0:
            raise ValueError(f"usual {self.usual} is not above 0")


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """The matcher, ready to compare.

    Args:
        mean: (D,).
        rows: (D, i + 1) lower triangle of the covariance, the diagonal halved, times two.
        usual: As `Spread.usual`.
    """

    mean: tuple[float, ...] = field(repr=False)
    rows: tuple[tuple[float, ...], ...] = field(repr=False)
    usual: float

    @staticmethod
    def of(spread: Spread) -> Fused:
        """Unpack what was measured. Raises ModelError: it makes no sense."""
        mean = _unpacked(spread.mean)
        numbers = _unpacked(spread.covariance)
        if not mean or len(numbers) != len(mean) * (len(mean) + 1) // 2:
            raise ModelError("the spread of a model is not whole", hint=REINSTALL)
        rows, start = [], 0
        for size in range(1, len(mean) + 1):
            row = [2.0 * number / len(mean) for number in numbers[start : start + size]]
            row[-1] /= 2.0
            rows.append(tuple(row))
            start += size
        return Fused(mean, tuple(rows), spread.usual)

    def score(self, probe: Vector, centres: Sequence[Vector]) -> float:
        """Return the comparison score, -1 to 1.

        Args:
            probe: (D,) unit vector.
            centres: Unit vectors: of all references, then of each look.
        """
        off = self._off(probe)
        of_probe = self._spread(off)
        scores = []
        for centre in centres:
            template = self._off(centre)
            together = math.sqrt(of_probe * self._spread(template))
            scores.append(self.usual * math.fsum(map(mul, off, template)) / together)
        fused = (scores[0] + max(scores[1:], default=scores[0])) / 2.0
        return max(-1.0, min(1.0, fused))

    def _off(self, vector: Vector) -> list[float]:
        return [number - mean for number, mean in zip(vector, self.mean, strict=True)]

    def _spread(self, off: Vector) -> float:
        """Return the standard deviation of strangers' scores with a vector."""
        variance = math.fsum(
            number * sum(map(mul, row, off)) for number, row in zip(off, self.rows, strict=True)
        )
        return math.sqrt(variance) if variance > 0.0 else self.usual


def _unpacked(text: str) -> tuple[float, ...]:
    try:
        packed = binascii.a2b_base64(text)
        numbers = struct.unpack(f"<{len(packed) // 2}e", packed)
    except (binascii.Error, struct.error, ValueError) as error:
        raise ModelError(
            f"the spread of a model cannot be read: {error}", hint=REINSTALL
        ) from error
    if not all(map(math.isfinite, numbers)):
        raise ModelError("the spread of a model has numbers that are not finite", hint=REINSTALL)
    return numbers
