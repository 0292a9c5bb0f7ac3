"""Whatever lies in a file of adapted references, it is refused as a `VaultError`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pam_faceid.adapters.vault.adapted import SealedAdaptedStore
from pam_faceid.adapters.vault.keys import KeyFile
from pam_faceid.adapters.vault.sealing import ADAPTED, seal
from pam_faceid.core.adaptation import Adapted
from pam_faceid.core.errors import VaultError
from tests.fuzz.test_templates import KEY, MODEL, encodable, fuzzed, values

reference = st.fixed_dictionaries(
    {
        "adapted_at": st.floats(),
        "origin": st.sampled_from(["after_match", "after_password"]) | st.text(),
        "score": st.floats(),
    }
)
bodies = st.fixed_dictionaries(
    {
        "model_id": st.just(MODEL) | st.text(max_size=20),
        "enrolled_at": st.floats() | values,
        "last_at": st.floats() | values,
        "dimensions": st.integers(-2, 8) | st.integers() | values,
        "vectors": st.binary(max_size=64) | values,
        "references": st.lists(reference, max_size=3) | values,
    }
)


@pytest.fixture
def store(tmp_path: Path) -> SealedAdaptedStore:
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "key").chmod(0o400)
    (tmp_path / "adapted").mkdir(mode=0o700)
    return SealedAdaptedStore(
        tmp_path / "adapted", owner="no-such-account", keys=KeyFile(tmp_path / "key")
    )


def read(store: SealedAdaptedStore, tmp_path: Path, content: bytes) -> Adapted | None:
    path = tmp_path / "adapted" / "alice.adapted"
    path.write_bytes(content)
    path.chmod(0o600)
    try:
        return store.load("alice", 1000)
    except VaultError:
        return None


@fuzzed
@example(b"")
@example(ADAPTED.magic)
@given(content=st.binary(max_size=400))
def test_arbitrary_bytes_are_never_adapted_references(
    store: SealedAdaptedStore, tmp_path: Path, content: bytes
) -> None:
    assert read(store, tmp_path, content) is None
    assert read(store, tmp_path, ADAPTED.magic + content) is None


@fuzzed
@given(body=(bodies | values).filter(encodable))
def test_a_sealed_body_that_is_none_is_refused(
    store: SealedAdaptedStore, tmp_path: Path, body: object
) -> None:
    """Only whoever has the key can write one; what is believed has unit vectors and no NaN."""
    sealed = seal(
        msgspec.msgpack.encode(body),
        key=KEY,
        user="alice",
        uid=1000,
        model_id=MODEL,
        version=ADAPTED.newest,
        kind=ADAPTED,
    )
    found = read(store, tmp_path, sealed)
    if found is not None:
        assert found.model_id == MODEL
        assert all(r.score == r.score for r in found.references)
