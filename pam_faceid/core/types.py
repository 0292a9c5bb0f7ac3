"""The nouns of an authentication. Terms follow ISO/IEC 2382-37; see docs/glossary.md.

Nothing here imports numpy, because the worker does without it; see `Embedding`.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from pam_faceid.core.errors import FaceIdError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pam_faceid.core.depth_frames import DepthFrame

    FloatVector = NDArray[np.float32] | array[float]

UNIT_NORM_TOLERANCE: Final = 1e-3

LARGEST_EVIDENCE: Final = 100_000.0  # px, degrees, log-odds: of none of them is there more

DEFAULT_LOOK: Final = "default"  # of a person who was enrolled without naming one
MAX_LOOK_NAME: Final = 32


class Outcome(str, Enum):
    """How an authentication ended. The values are the words of the wire protocol."""

    MATCH = "match"
    NON_MATCH = "non_match"
    PRESENTATION_ATTACK = "presentation_attack"
    SKIPPED = "skipped"
    LOCKED_OUT = "locked_out"
    NOT_PERMITTED = "not_permitted"
    NOT_ENROLLED = "not_enrolled"
    FAILURE_TO_ACQUIRE = "failure_to_acquire"
    INTERNAL_ERROR = "internal_error"


class Refusal(str, Enum):
    """Why a sample is not compared. `core.quality.ADVICE` says what the person can do."""

    NO_FACE = "no_face"
    SEVERAL_FACES = "several_faces"
    TOO_SMALL = "too_small"
    AT_THE_EDGE = "at_the_edge"
    TOO_NEAR = "too_near"
    TURNED_AWAY = "turned_away"
    TILTED = "tilted"
    LOOKING_UP = "looking_up"
    LOOKING_DOWN = "looking_down"
    BLURRED = "blurred"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    UNLIKE_A_HEAD = "unlike_a_head"  # in the light of an infrared camera: `core.infrared`
    OTHER_FACE = "other_face"  # than the other camera of a pair sees: `core.pairs`
    DEPTH_UNKNOWN = "depth_unknown"
    WRONG_SIZE = "wrong_size"  # in millimetres: `core.depth`
    FLAT = "flat"
    SIDE_LIGHT = "side_light"
    FACE_COVERED = "face_covered"
    EYES_CLOSED = "eyes_closed"


# Said of what is no head, or is not where it seems: who shows it has tried, though nothing of it is
# compared.
SAID_OF_PICTURES: Final = frozenset(
    (Refusal.UNLIKE_A_HEAD, Refusal.OTHER_FACE, Refusal.WRONG_SIZE, Refusal.FLAT)
)


class Pose(str, Enum):
    """How the head is held, left and right as the person has them. `core.poses` tells it."""

    STRAIGHT = "straight"
    LEFT = "left"
    RIGHT = "right"
    UP = "up"
    DOWN = "down"


class Spectrum(str, Enum):
    """The light that a camera sees; or none: a node of distances, which shows no face."""

    COLOUR = "colour"
    INFRARED = "infrared"
    DEPTH = "depth"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image from a camera.

    Args:
        pixels: (H, W, 3) uint8 RGB; a grey camera repeats its channel.
        captured_at: Seconds on the monotonic clock of the capturing process.
        spectrum: The light it was taken in.
        origin: Where it came from, for messages: a device or a file, never the pixels.
        ambient: The frame beside it that an infrared camera took with its light off, shaped as
            `pixels`; None where the light does not flash.
        beside: What the colour camera of a pair saw at that moment; None where none was asked.
        depth: The same picture with its depth, from a depth camera.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    captured_at: float
    spectrum: Spectrum = Spectrum.COLOUR
    origin: str = ""
    ambient: NDArray[np.uint8] | None = field(default=None, repr=False)
    beside: Frame | None = field(default=None, repr=False)
    depth: DepthFrame | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One detected face.

    Args:
        box: (4,) float32, px: left, top, right, bottom.
        points: (5, 2) float32, px: the person's right eye, left eye, nose, right and left mouth
            corner as they lie in the image from left to right.
        score: The detector's probability that this is a face, 0 to 1.
    """

    box: NDArray[np.float32]
    points: NDArray[np.float32]
    score: float

    @property
    def size_px(self) -> float:
        """The longer side of the box."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))


@dataclass(frozen=True, slots=True, eq=False)
class FaceMesh:
    """The surface of one face.

    Args:
        points: (468, 3) float32, px of the frame: to the right, down, and away from the camera,
            the depth from the middle of the head and only as right as a picture can tell. Numbered
            as MediaPipe numbers them; `core.mesh` names those that are used here.
        presence: The model's probability that there is a face at all, 0 to 1.
    """

    points: NDArray[np.float32] = field(repr=False)
    presence: float


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A face as a unit vector in the space of one model.

    The process that runs models has it in numpy. The keeper, which compares a hundred numbers with
    a few hundred, does so in plain Python: importing numpy would take it longer than all else.

    Args:
        vector: (D,) float32 of unit Euclidean norm: a numpy array, or an `array` of type "f".
        model_id: `name@sha256-prefix` of the model; vectors of two models cannot be compared.

    Raises:
        FaceIdError: The vector is not a finite float32 unit vector.
    """

    vector: FloatVector = field(repr=False)
    model_id: str

    def __post_init__(self) -> None:
        # numpy tells type checkers of its buffers from Python 3.12 on.
        numbers = memoryview(self.vector)  # type: ignore[arg-type]
        if numbers.ndim != 1 or numbers.format != "f":
            raise FaceIdError(
                f"an embedding is a float32 vector, not {numbers.format} {numbers.shape}"
            )
        norm = math.sqrt(sum(number * number for number in numbers))
        # Written so that NaN fails.
        if not abs(norm - 1.0) <= UNIT_NORM_TOLERANCE:
            raise FaceIdError(f"an embedding has unit norm, not {norm:.6f}")

    def octets(self) -> memoryview:
        """The vector's memory, not a copy of it."""
        return memoryview(self.vector).cast("B")  # type: ignore[arg-type]

    def wipe(self) -> None:
        """Overwrite the numbers, once they are compared. What is left is no embedding."""
        octets = self.octets()
        octets[:] = bytes(len(octets))


@dataclass(frozen=True, slots=True)
class SampleQuality:
    """What the quality gate measured on one face. See `core.quality` for how.

    Args:
        size_px: Longer side of the face box.
        yaw: Turn to the side told from five points; 0 is frontal, +-1 a profile. No unit.
        pitch: Nod told from five points; 0 is level, negative looks up. No unit.
        roll_degrees: Tilt of the line between the eyes.
        sharpness: Variance of the Laplacian of the aligned face.
        brightness: Mean luminance of the aligned face, 0 to 255.
        contrast: Standard deviation of that luminance.
    """

    size_px: float
    yaw: float
    pitch: float
    roll_degrees: float
    sharpness: float
    brightness: float
    contrast: float


@dataclass(frozen=True, slots=True)
class PresentationEvidence:
    """What one frame with one face says of how it is presented: by its person, or by a picture.

    Measured where pixels are; judged by `core.attack` and `core.policy`, where there are none. What
    was not measured is None, and counts for nobody.

    Args:
        x_px, y_px, size_px: Middle of the face box, and its longer side.
        attack_score: The detector's log-odds that the presentation is bona fide.
        second_score: The same from the second opinion.
        relief: Log-odds, from how points moved since the attempt began, that they are of a solid.
        eye_aspect: Height over width of the eye that is further open.
        yaw_degrees: Turn of the head; positive to the person's left, as `SampleQuality.yaw`.
        pitch_degrees: Nod; positive looks down.
        nose_across, nose_down: Where the tip of the nose is seen: `core.mesh.nose_place`.
        lid_gap: How far the lids are apart: `core.mesh.lid_gap`.

    Raises:
        FaceIdError: A number is not finite, or larger than any of its kind.
    """

    x_px: float
    y_px: float
    size_px: float
    attack_score: float | None = None
    second_score: float | None = None
    relief: float | None = None
    eye_aspect: float | None = None
    yaw_degrees: float | None = None
    pitch_degrees: float | None = None
    nose_across: float | None = None
    nose_down: float | None = None
    lid_gap: float | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            number = getattr(self, name)
            # Written so that NaN is refused.
            if number is not None and not abs(number) <= LARGEST_EVIDENCE:
                raise FaceIdError(f"{name} = {number} is no evidence of a presentation")


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What the pixel side makes of one frame: a refusal, or a probe. Holds no pixels.

    Args:
        index: Number of the frame in this attempt, from 0.
        captured_at: Seconds, monotonic.
        refusal: Why the sample cannot be compared; None exactly when `embedding` is there.
        quality: Measured when one face was found, else None.
        embedding: The probe.
        stage_ms: Milliseconds that each stage took: capture, detect, align, look, follow, embed,
            attack.
        origin: The frame's origin.
        presentation: Of the one face, else None; there with refusals of that face, too.
    """

    index: int
    captured_at: float
    refusal: Refusal | None
    quality: SampleQuality | None
    embedding: Embedding | None
    stage_ms: dict[str, float]
    origin: str = ""
    presentation: PresentationEvidence | None = None

    def __post_init__(self) -> None:
        if (self.refusal is None) != (self.embedding is not None):
            raise FaceIdError("an observation is either refused or has an embedding")


def is_look(name: str) -> bool:
    """Whether a look may be called so: 1 to 32 characters that print, no space at an end."""
    return 0 < len(name) <= MAX_LOOK_NAME and name.isprintable() and name == name.strip()


@dataclass(frozen=True, slots=True)
class LiveScore:
    """What the attack detector said of a sample that a living person gave before a camera.

    Args:
        detector: Its `name@sha256-prefix`.
        log_odds: That the presentation is bona fide.
    """

    detector: str
    log_odds: float


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """One enrolled embedding of a person.

    Args:
        embedding: The sample's embedding.
        enrolled_at: Seconds since the epoch.
        quality: Of the sample it was made from.
        source: What it was made from: a camera's name or a file's name, for `show-user`.
        look: How the person looked, by the name that it was given: "glasses".
        pose: How the head was held, told from the five points beside the person's straight look.
        live: None for a sample of a file, or where the detector was not asked.
    """

    embedding: Embedding
    enrolled_at: float
    quality: SampleQuality
    source: str
    look: str = DEFAULT_LOOK
    pose: Pose = Pose.STRAIGHT
    live: LiveScore | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceTemplate:
    """Everything that enrolment keeps of one person.

    Args:
        user: Login name.
        uid: Numeric user id at enrolment.
        model_id: The model of every reference.
        references: At least one.
        created_at: Seconds since the epoch.
    """

    user: str
    uid: int
    model_id: str
    references: tuple[Reference, ...]
    created_at: float

    def __post_init__(self) -> None:
        if not self.references:
            raise FaceIdError(f"the template of {self.user!r} has no references")
        if any(r.embedding.model_id != self.model_id for r in self.references):
            raise FaceIdError(f"the template of {self.user!r} mixes embeddings of several models")

    def wipe(self) -> None:
        """Overwrite every embedding."""
        for reference in self.references:
            reference.embedding.wipe()


@dataclass(frozen=True, slots=True)
class FrameEvidence:
    """What one observed frame says about the claim.

    Args:
        index: The frame's number.
        score: Comparison score, cosine, -1 to 1; None when the sample was refused.
        refusal: Why there is no score.
        presentation: As in the observation.
    """

    index: int
    score: float | None
    refusal: Refusal | None
    presentation: PresentationEvidence | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of one authentication. Only `core.policy.decide` makes one that matches.

    Args:
        outcome: How it ended.
        best_score: Highest comparison score seen, None when nothing was compared.
        threshold: The match threshold, cosine.
        frames: Frames observed.
        compared: Frames compared.
        advice: The refusal seen most often, None when none was.
        attack_score: Fused log-odds that the presentation is bona fide, None when it has none.
        bona_fide: Whether the presentation passes, None when nobody asked or nothing was compared.
    """

    outcome: Outcome
    best_score: float | None
    threshold: float
    frames: int
    compared: int
    advice: Refusal | None = None
    attack_score: float | None = None
    bona_fide: bool | None = None

    def __bool__(self) -> bool:
        raise TypeError("a verdict is not a truth value: write `verdict.outcome is Outcome.MATCH`")
