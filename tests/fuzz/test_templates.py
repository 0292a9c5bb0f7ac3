"""Whatever lies in a template's file, it is refused as a `VaultError`, and never believed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pam_faceid.adapters.vault.keys import KeyFile
from pam_faceid.adapters.vault.sealing import FORMAT_VERSION, OLDEST_VERSION, seal, unseal
from pam_faceid.adapters.vault.templates import SealedTemplateStore, check_user_name, template_path
from pam_faceid.core.errors import VaultError
from tests.fuzz.harness import EXAMPLES, SECONDS

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "templates"
VERSIONS = range(OLDEST_VERSION, FORMAT_VERSION + 1)
GOOD = (VECTORS / "good-2-one.template").read_bytes()
KEY = bytes(range(32))
MODEL = "sface@0ba9fbfa01b5"

fuzzed = settings(
    deadline=None,
    max_examples=EXAMPLES,
    derandomize=not SECONDS,
    # The folder is made once and holds the one file that each example overwrites.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Everything that msgpack can say, within the depth that a hostile body would reach first.
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=600),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)
QUALITY = dict.fromkeys(
    ("size_px", "yaw", "pitch", "roll_degrees", "sharpness", "brightness", "contrast"), 1.0
)
reference = {"enrolled_at": st.floats(), "quality": st.just(QUALITY), "source": st.text()}
newer_reference = {
    **reference,
    "look": st.just("glasses") | st.text(),
    "pose": st.just("left") | st.text(),
}
references = st.lists(
    st.fixed_dictionaries(reference) | st.fixed_dictionaries(newer_reference), max_size=3
)
bodies = st.fixed_dictionaries(
    {
        "model_id": st.just(MODEL) | st.text(max_size=20),
        "created_at": st.floats() | values,
        "dimensions": st.integers(-2, 8) | st.integers() | values,
        "vectors": st.binary(max_size=64) | values,
        "references": references | values,
    }
)


@pytest.fixture
def store(tmp_path: Path) -> SealedTemplateStore:
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "key").chmod(0o400)
    (tmp_path / "templates").mkdir(mode=0o750)
    return SealedTemplateStore(tmp_path / "templates", KeyFile(tmp_path / "key"))


def place(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "templates" / "alice.template"
    path.write_bytes(content)
    path.chmod(0o640)


@fuzzed
@given(
    content=st.binary(max_size=2000) | st.binary(max_size=200).map(lambda tail: GOOD[:11] + tail)
)
def test_arbitrary_bytes_are_never_a_template(
    store: SealedTemplateStore, tmp_path: Path, content: bytes
) -> None:
    place(tmp_path, content)
    with pytest.raises(VaultError):
        store.load("alice", 1000)


@fuzzed
@given(
    start=st.integers(0, len(GOOD)),
    length=st.integers(0, 40),
    replacement=st.binary(max_size=40),
)
@example(start=0, length=0, replacement=GOOD)
@example(start=len(GOOD), length=0, replacement=GOOD)
def test_a_changed_template_is_never_a_template(
    store: SealedTemplateStore, tmp_path: Path, start: int, length: int, replacement: bytes
) -> None:
    content = GOOD[:start] + replacement + GOOD[start + length :]
    if content == GOOD:
        return
    place(tmp_path, content)
    with pytest.raises(VaultError):
        store.load("alice", 1000)


@fuzzed
@given(
    body=st.binary(max_size=500) | values.map(msgspec.msgpack.encode),
    version=st.sampled_from(VERSIONS),
)
@example(body=b"\x91" * 100_000, version=2)
@example(body=b"\x81\xa1x" * 100_000, version=2)
def test_a_sealed_body_of_anything_is_never_a_template(
    store: SealedTemplateStore, tmp_path: Path, body: bytes, version: int
) -> None:
    sealed = seal(body, key=KEY, user="alice", uid=1000, model_id=MODEL, version=version)
    place(tmp_path, sealed)
    with pytest.raises(VaultError):
        store.load("alice", 1000)


def encodable(body: object) -> bool:
    try:
        msgspec.msgpack.encode(body)
    except (OverflowError, UnicodeEncodeError):
        return False
    return True


@fuzzed
@given(body=bodies.filter(encodable), version=st.sampled_from(VERSIONS))
def test_a_body_of_the_right_fields_and_random_values_is_never_a_template(
    store: SealedTemplateStore, tmp_path: Path, body: dict[str, object], version: int
) -> None:
    """At random, a vector of unit length does not happen."""
    packed = msgspec.msgpack.encode(body)
    sealed = seal(packed, key=KEY, user="alice", uid=1000, model_id=MODEL, version=version)
    place(tmp_path, sealed)
    with pytest.raises(VaultError):
        store.load("alice", 1000)


@fuzzed
@given(
    body=st.binary(max_size=300),
    user=st.text(st.characters(max_codepoint=127), min_size=1, max_size=255),
    uid=st.integers(0, 2**32 - 1),
    model_id=st.text(st.characters(max_codepoint=127), min_size=1, max_size=255),
    version=st.sampled_from(VERSIONS),
)
def test_whatever_fits_the_envelope_comes_back(
    body: bytes, user: str, uid: int, model_id: str, version: int
) -> None:
    sealed = seal(body, key=KEY, user=user, uid=uid, model_id=model_id, version=version)
    opened = unseal(sealed, key=KEY, user=user, uid=uid, origin="FILE")
    assert opened == (version, model_id, body)


@fuzzed
@given(user=st.text(max_size=40) | st.text("aZ_.-/\0@$ ~", max_size=34))
def test_a_user_name_is_refused_or_names_a_file_in_the_directory(user: str) -> None:
    try:
        path = template_path(Path("/templates"), user)
    except VaultError:
        return
    assert path.parent == Path("/templates")
    assert path.name == f"{user}.template"
    assert ".." not in path.parts
    check_user_name(user)
