"""What is written of an attempt, in which order, and how much of it the journal gets."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from typing import Final

from pam_faceid.adapters.audit.lines import is_key

Field = str | int | float | bool | None

ORDER: Final = (
    "time",
    "event",
    "attempt",
    "user",
    "service",
    "peer_uid",
    "peer_pid",
    "rhost",
    "tty",
    "outcome",
    "reason",
    "frames",
    "compared",
    "closeness",
    "attack_mode",
    "presentation",
    "held_to_enrolment",
    "challenge",
    "challenge_failed",
    "refused_samples",
    "camera",
    "recording",
    "depth",
    "allow_virtual",
    "embedder",
    "detector",
    "attack_detector",
    "adapted",
    "origin",
    "references",
    "milliseconds",
    "capture_ms",
    "detect_ms",
    "align_ms",
    "look_ms",
    "embed_ms",
    "attack_ms",
    "first_probe_ms",
    "error",
)
# Only a face that is recognised is challenged.
ROOT_ONLY: Final = frozenset({"closeness", "presentation", "challenge", "challenge_failed"})
ATTACK, NON_MATCH = "presentation_attack", "non_match"
MOST_FIELDS: Final = 40
NEAR: Final = 0.75  # of the threshold: about one stranger in a thousand comes this near
_PLACES: Final = {name: place for place, name in enumerate(ORDER)}


def describe(event: str, fields: Mapping[str, Field], *, seconds: float) -> dict[str, str]:
    """Return the pairs of a record: those of `ORDER`, then any other by its name.

    `best_score` and `threshold` become `closeness`; the numbers themselves are never written, since
    whoever could read them could climb towards a match. Names of stages come from the process that
    decodes pixels: what cannot be a key, or is one too many, is counted as `left_out`, so that no
    name keeps an attempt from being recorded.

    Args:
        event: What happened.
        fields: None is left out.
        seconds: Since the epoch.

    Raises:
        TypeError: A field is an array, a list or another value that is not plain; or a fraction
            that is not a time in milliseconds or seconds, and might be a score; or is set here.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    for name in ("time", "event", "closeness"):
        if name in given:
            raise TypeError(f"`{name}` is set by the log itself")
    best, threshold = given.pop("best_score", None), given.pop("threshold", None)
    if event == "authenticate":
        given.setdefault("attempt", _random_id())
    texts = {name: _text(name, value) for name, value in given.items()}
    if best is not None and threshold is not None:
        texts["closeness"] = closeness(float(best), float(threshold))
    texts |= {"time": _stamp(seconds), "event": event}
    names = sorted(filter(is_key, texts), key=lambda name: (_PLACES.get(name, len(ORDER)), name))
    pairs = {name: texts[name] for name in names[:MOST_FIELDS]}
    if len(pairs) < len(texts):
        pairs["left_out"] = str(len(texts) - len(pairs))
    return pairs


def for_journal(pairs: Mapping[str, str]) -> dict[str, str]:
    """Return what others than root may see: not that a face which was refused had matched."""
    shown = {name: value for name, value in pairs.items() if name not in ROOT_ONLY}
    if shown.get("outcome") == ATTACK:
        shown["outcome"] = NON_MATCH
    return shown


def closeness(best_score: float, threshold: float) -> str:
    """Return how near the best comparison came, as one of three words.

    "reached" the threshold, "near" from three quarters of it, else "far"; NaN is "far". Two steps
    tell a person who is refused in bad light from a stranger, and a climber nothing: see
    `docs/audit.md`.
    """
    if best_score >= threshold:
        return "reached"
    return "near" if best_score >= NEAR * threshold else "far"


def _text(name: str, value: Field) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, str):
        # Of an enumeration its word; str() of a member says its class on some versions.
        return str.__str__(value)
    if isinstance(value, float):
        if not name.endswith(("_ms", "milliseconds", "seconds")):
            raise TypeError(f"the audit field {name} is a fraction and no time: it may be a score")
        return str(round(value, 1)) if math.isfinite(value) else str(value)
    raise TypeError(f"the audit field {name} is a {type(value).__name__}, not a plain value")


def _random_id() -> str:
    return os.urandom(8).hex()


def _stamp(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{stamp}.{milliseconds % 1000:03d}Z"
