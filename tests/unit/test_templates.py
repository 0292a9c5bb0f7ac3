"""A stored template comes back exactly as it was, or not at all."""

from __future__ import annotations

import dataclasses
import grp
import itertools
import json
import multiprocessing
import os
import runpy
import shutil
import subprocess
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from pam_faceid.adapters.vault.keys import KeyFile, create_key_file
from pam_faceid.adapters.vault.templates import SealedTemplateStore, check_user_name, template_path
from pam_faceid.core.errors import EnrolmentError, NotEnrolledError, VaultError
from pam_faceid.core.types import (
    DEFAULT_LOOK,
    Embedding,
    LiveScore,
    Pose,
    Reference,
    ReferenceTemplate,
    SampleQuality,
)

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "templates"
NAMES = sorted(path.stem for path in VECTORS.glob("*.template"))
MODEL = "sface@0ba9fbfa01b5"
QUALITY = SampleQuality(
    size_px=200.0,
    yaw=0.1,
    pitch=-0.1,
    roll_degrees=2.0,
    sharpness=120.0,
    brightness=110.0,
    contrast=45.0,
)


def template(
    *,
    user: str = "alice",
    uid: int = 1000,
    references: int = 8,
    dimensions: int = 128,
    seed: int = 0,
) -> ReferenceTemplate:
    vectors = np.random.default_rng(seed).standard_normal((references, dimensions))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return ReferenceTemplate(
        user=user,
        uid=uid,
        model_id=MODEL,
        references=tuple(
            Reference(
                embedding=Embedding(vector=vector, model_id=MODEL),
                enrolled_at=1000.0 + number,
                quality=QUALITY,
                source=f"frame {number}",
                look="glasses" if number % 2 else DEFAULT_LOOK,
                pose=list(Pose)[number % len(Pose)],
                live=LiveScore("detector@1", number - 2.5) if number % 3 else None,
            )
            for number, vector in enumerate(vectors.astype(np.float32))
        ),
        created_at=2000.5,
    )


def assert_same(one: ReferenceTemplate, other: ReferenceTemplate) -> None:
    assert (one.user, one.uid, one.model_id) == (other.user, other.uid, other.model_id)
    assert one.created_at == other.created_at
    for left, right in zip(one.references, other.references, strict=True):
        assert np.array_equal(left.embedding.vector, right.embedding.vector)
        assert left.embedding.model_id == right.embedding.model_id
        for field in ("enrolled_at", "quality", "source", "look", "pose", "live"):
            assert getattr(left, field) == getattr(right, field)


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    create_key_file(tmp_path / "template.key")
    return KeyFile(tmp_path / "template.key")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "templates"


@pytest.fixture
def store(directory: Path, keys: KeyFile) -> SealedTemplateStore:
    return SealedTemplateStore(directory, keys)


@pytest.fixture
def enrolled(store: SealedTemplateStore) -> SealedTemplateStore:
    store.save(template(), replace=False)
    return store


@pytest.mark.parametrize(("references", "dimensions"), [(1, 128), (8, 128), (64, 512)])
def test_a_template_comes_back_exactly(
    store: SealedTemplateStore, references: int, dimensions: int
) -> None:
    saved = template(references=references, dimensions=dimensions)
    store.save(saved, replace=False)
    assert_same(store.load("alice", 1000), saved)


def test_no_embedding_lies_on_the_disk_in_clear(
    enrolled: SealedTemplateStore, directory: Path
) -> None:
    content = (directory / "alice.template").read_bytes()
    for reference in template().references:
        assert reference.embedding.vector.tobytes()[:16] not in content
        assert reference.source.encode() not in content


def test_files_and_directory_are_as_private_as_promised(
    enrolled: SealedTemplateStore, directory: Path
) -> None:
    assert directory.stat().st_mode & 0o7777 == 0o750
    assert (directory / "alice.template").stat().st_mode & 0o7777 == 0o640
    assert (directory / "alice.template").stat().st_uid == os.geteuid()


@pytest.mark.root
def test_the_keepers_group_can_read_what_root_stored_and_the_observers_cannot(
    store: SealedTemplateStore, directory: Path
) -> None:
    """Also in a directory of an older version; root alone, where there is no such account."""
    try:
        group = grp.getgrnam("faceid-keeper").gr_gid
    except KeyError:
        group = os.getegid()
    directory.mkdir()
    os.chown(directory, 0, grp.getgrnam("faceid").gr_gid)
    directory.chmod(0o750)
    store.save(template(), replace=False)
    assert (directory / "alice.template").stat().st_gid == group
    if group != os.getegid():
        assert directory.stat().st_gid == group


def test_nobody_is_enrolled_before_the_directory_exists(store: SealedTemplateStore) -> None:
    with pytest.raises(NotEnrolledError, match="'alice' has no reference template") as refusal:
        store.load("alice", 1000)
    assert refusal.value.hint == "enrol: faceid-admin add-user alice"
    assert store.users() == []


def test_a_vault_that_was_never_installed_is_named(tmp_path: Path, keys: KeyFile) -> None:
    store = SealedTemplateStore(tmp_path / "gone" / "templates", keys)
    with pytest.raises(VaultError, match=r"cannot make .*templates: No such file") as refusal:
        store.save(template(), replace=False)
    assert refusal.value.hint == "run install.sh"


def test_a_user_without_a_template_is_not_enrolled(enrolled: SealedTemplateStore) -> None:
    with pytest.raises(NotEnrolledError):
        enrolled.load("bob", 1001)


def test_not_being_enrolled_does_not_need_the_key(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(NotEnrolledError):
        SealedTemplateStore(directory, KeyFile(tmp_path / "absent")).load("alice", 1000)


def test_a_template_is_kept_unless_replacing_was_asked_for(enrolled: SealedTemplateStore) -> None:
    with pytest.raises(VaultError, match="'alice' is enrolled already") as refusal:
        enrolled.save(template(seed=1), replace=False)
    assert "faceid-admin add-user alice --replace" in refusal.value.hint
    assert_same(enrolled.load("alice", 1000), template(seed=0))
    enrolled.save(template(seed=1), replace=True)
    assert_same(enrolled.load("alice", 1000), template(seed=1))


def test_a_removed_template_is_gone(enrolled: SealedTemplateStore, directory: Path) -> None:
    enrolled.remove("alice")
    assert list(directory.iterdir()) == []
    with pytest.raises(NotEnrolledError):
        enrolled.load("alice", 1000)
    with pytest.raises(NotEnrolledError):
        enrolled.remove("alice")


def test_users_are_listed_in_order_and_nothing_else_is(
    store: SealedTemplateStore, directory: Path
) -> None:
    for user in ("carol", "alice", "bob.jr"):
        store.save(template(user=user), replace=False)
    for other in (
        ".alice.template.00.tmp",
        "alice.template~",
        "README",
        "-x.template",
        ".template",
    ):
        (directory / other).touch()
    assert store.users() == ["alice", "bob.jr", "carol"]


def test_a_template_renamed_to_another_user_does_not_open(
    enrolled: SealedTemplateStore, directory: Path
) -> None:
    shutil.copy(directory / "alice.template", directory / "mallory.template")
    with pytest.raises(VaultError, match="is the template of 'alice', not of 'mallory'"):
        enrolled.load("mallory", 1000)


def test_a_template_does_not_open_for_a_new_account_of_the_same_name(
    enrolled: SealedTemplateStore,
) -> None:
    with pytest.raises(VaultError, match="had user id 1000; now it is 1001"):
        enrolled.load("alice", 1001)


def test_a_template_of_another_machine_does_not_open(
    enrolled: SealedTemplateStore, directory: Path, tmp_path: Path
) -> None:
    create_key_file(tmp_path / "other.key")
    other = SealedTemplateStore(directory, KeyFile(tmp_path / "other.key"))
    with pytest.raises(VaultError, match="sealed with another template key"):
        other.load("alice", 1000)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o666, 0o750])
def test_a_template_with_a_wider_mode_is_refused(
    enrolled: SealedTemplateStore, directory: Path, mode: int
) -> None:
    (directory / "alice.template").chmod(mode)
    with pytest.raises(VaultError, match=f"mode {mode:04o}"):
        enrolled.load("alice", 1000)


def test_templates_in_a_directory_that_others_can_write_are_refused(
    enrolled: SealedTemplateStore, directory: Path
) -> None:
    directory.chmod(0o770)
    for action in (
        lambda: enrolled.load("alice", 1000),
        lambda: enrolled.save(template(), replace=True),
        lambda: enrolled.remove("alice"),
        enrolled.users,
    ):
        with pytest.raises(VaultError, match="templates can be written by others"):
            action()


@pytest.mark.root
def test_a_template_of_another_owner_is_refused(
    enrolled: SealedTemplateStore, directory: Path
) -> None:
    os.chown(directory / "alice.template", 65534, -1)
    with pytest.raises(VaultError, match="belongs to user id 65534"):
        enrolled.load("alice", 1000)


@pytest.mark.root
def test_a_directory_of_another_owner_is_refused(
    enrolled: SealedTemplateStore, directory: Path
) -> None:
    os.chown(directory, 65534, -1)
    with pytest.raises(VaultError, match="belongs to user id 65534"):
        enrolled.load("alice", 1000)


def test_a_template_behind_a_link_is_refused(
    enrolled: SealedTemplateStore, directory: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    (directory / "alice.template").rename(moved)
    (directory / "alice.template").symlink_to(moved)
    with pytest.raises(VaultError, match="is a symbolic link"):
        enrolled.load("alice", 1000)


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("", "empty"),
        ("a/b", "something else than"),
        ("/etc/passwd", "something else than"),
        ("..", "starts with"),
        ("../alice", "starts with"),
        ("a..b", "'..'"),
        (".hidden", "starts with"),
        ("-rf", "starts with"),
        ("a\0b", "something else than"),
        ("a b", "something else than"),
        ("a\n", "something else than"),
        ("alice:x", "something else than"),
        ("андрей", "not ASCII"),
        ("alice\u200b", "not ASCII"),
        ("x" * 33, "longer than 32"),
        ("x" * 300, "longer than 32"),
    ],
)
def test_a_name_that_is_no_user_name_never_becomes_a_path(
    store: SealedTemplateStore, directory: Path, user: str, reason: str
) -> None:
    for action in (
        lambda: check_user_name(user),
        lambda: template_path(directory, user),
        lambda: store.load(user, 1000),
        lambda: store.save(template(user=user), replace=True),
        lambda: store.remove(user),
    ):
        with pytest.raises(VaultError, match="is not a user name that can be enrolled") as refusal:
            action()
        assert reason in refusal.value.message
        assert len(refusal.value.message) < 160
    assert not directory.exists()


@pytest.mark.parametrize(
    "user", ["a", "root", "_apt", "J.Doe", "host$", "me@example.org", "x" * 32]
)
def test_names_that_real_systems_have_are_accepted(store: SealedTemplateStore, user: str) -> None:
    store.save(template(user=user), replace=False)
    assert_same(store.load(user, 1000), template(user=user))


def _enrol(store: SealedTemplateStore, seed: int, start: Barrier) -> None:
    start.wait()
    try:
        store.save(template(seed=seed), replace=False)
    except VaultError:
        raise SystemExit(1) from None


def test_of_two_enrolments_at_once_exactly_one_wins(store: SealedTemplateStore) -> None:
    processes = multiprocessing.get_context("fork")
    for _ in range(10):
        start = processes.Barrier(2)
        both = [processes.Process(target=_enrol, args=(store, seed, start)) for seed in (1, 2)]
        for one in both:
            one.start()
        for one in both:
            one.join(30)
        assert sorted(one.exitcode or 0 for one in both) == [0, 1]
        winner = 1 if both[0].exitcode == 0 else 2
        assert_same(store.load("alice", 1000), template(seed=winner))
        store.remove("alice")


def first_half(template: ReferenceTemplate) -> ReferenceTemplate:
    return dataclasses.replace(template, references=template.references[:4])


def test_a_template_is_changed_in_place(enrolled: SealedTemplateStore) -> None:
    assert_same(enrolled.update("alice", 1000, first_half), first_half(template()))
    assert_same(enrolled.load("alice", 1000), first_half(template()))


def test_a_change_that_is_refused_leaves_the_template(enrolled: SealedTemplateStore) -> None:
    def refuse(_: ReferenceTemplate) -> ReferenceTemplate:
        raise EnrolmentError("another face")

    with pytest.raises(EnrolmentError, match="another face"):
        enrolled.update("alice", 1000, refuse)
    assert_same(enrolled.load("alice", 1000), template())


def test_who_is_not_enrolled_is_not_changed(store: SealedTemplateStore, directory: Path) -> None:
    for _ in range(2):
        with pytest.raises(NotEnrolledError):
            store.update("alice", 1000, first_half)
        directory.mkdir(mode=0o750, exist_ok=True)


@pytest.mark.parametrize("name", ["good-many", "good-2-many"])
def test_a_template_of_an_older_version_is_changed_into_one_of_the_newest(
    directory: Path, name: str
) -> None:
    vector = json.loads((VECTORS / f"{name}.json").read_text(encoding="ascii"))
    store = placed(directory, name, vector["user"], vector["key"])
    changed = store.update(
        vector["user"],
        vector["uid"],
        lambda old: dataclasses.replace(
            old,
            references=tuple(dataclasses.replace(r, look="glasses") for r in old.references),
        ),
    )
    assert_same(store.load(vector["user"], vector["uid"]), changed)
    assert changed.references[2].look == "glasses"


def _rename_one(store: SealedTemplateStore, number: int, start: Barrier) -> None:
    def rename(template: ReferenceTemplate) -> ReferenceTemplate:
        references = list(template.references)
        references[number] = dataclasses.replace(references[number], look=f"look {number}")
        return dataclasses.replace(template, references=tuple(references))

    start.wait()
    store.update("alice", 1000, rename)


def test_of_many_changes_at_once_none_is_lost(enrolled: SealedTemplateStore) -> None:
    processes = multiprocessing.get_context("fork")
    start = processes.Barrier(8)
    workers = [
        processes.Process(target=_rename_one, args=(enrolled, number, start)) for number in range(8)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    looks = [reference.look for reference in enrolled.load("alice", 1000).references]
    assert looks == [f"look {number}" for number in range(8)]


def _enrol_again_and_again(store: SealedTemplateStore) -> None:
    for seed in itertools.count():
        store.save(template(seed=seed % 5, references=64), replace=True)


def test_an_enrolment_that_is_killed_leaves_a_whole_template(
    enrolled: SealedTemplateStore, directory: Path
) -> None:
    processes = multiprocessing.get_context("fork")
    for number in range(20):
        writer = processes.Process(target=_enrol_again_and_again, args=(enrolled,))
        writer.start()
        time.sleep(0.01 + number * 0.0007)
        writer.kill()
        writer.join(30)
        assert len(enrolled.load("alice", 1000).references) in (8, 64)
    enrolled.remove("alice")
    assert list(directory.iterdir()) == []


@pytest.fixture
def tiny_disk(directory: Path) -> Iterator[Path]:
    """A file system with room for 32 KiB where the templates lie."""
    directory.mkdir(mode=0o750)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k,mode=0750", "tmpfs", directory], check=True
    )
    yield directory
    subprocess.run(["umount", directory], check=True)


@pytest.mark.root
def test_a_full_disk_while_enrolling_leaves_the_old_template(
    tiny_disk: Path, store: SealedTemplateStore
) -> None:
    store.save(template(), replace=False)
    with pytest.raises(VaultError, match=r"cannot write .*: No space left on device") as refusal:
        store.save(template(references=64, dimensions=512), replace=True)
    assert "what was there before is unchanged" in refusal.value.hint
    assert_same(store.load("alice", 1000), template())
    assert [path.name for path in tiny_disk.iterdir()] == ["alice.template"]


def placed(directory: Path, name: str, user: str, key: str) -> SealedTemplateStore:
    """Put a vector where a store finds it as the template of a user."""
    directory.mkdir(mode=0o750)
    shutil.copyfile(VECTORS / f"{name}.template", template_path(directory, user))
    template_path(directory, user).chmod(0o640)
    key_file = directory.with_name("vector.key")
    key_file.write_bytes(bytes.fromhex(key))
    key_file.chmod(0o400)
    return SealedTemplateStore(directory, KeyFile(key_file))


@pytest.mark.parametrize("name", NAMES)
def test_each_vector_opens_to_its_contents_or_is_refused_in_its_own_words(
    directory: Path, name: str
) -> None:
    vector = json.loads((VECTORS / f"{name}.json").read_text(encoding="ascii"))
    user, uid = vector["user"], vector["uid"]
    store = placed(directory, name, user, vector["key"])
    if "refused" in vector:
        with pytest.raises(VaultError) as refusal:
            store.load(user, uid)
        assert vector["refused"] in refusal.value.message
        assert str(directory / f"{user}.template") in refusal.value.message
        assert refusal.value.hint
        return
    opened, wanted = store.load(user, uid), vector["opens"]
    assert (opened.user, opened.uid, opened.model_id) == (user, uid, wanted["model_id"])
    assert opened.created_at == wanted["created_at"]
    vectors = b"".join(np.asarray(r.embedding.vector, "<f4").tobytes() for r in opened.references)
    assert vectors.hex() == wanted["vectors"]
    for reference, stored in zip(opened.references, wanted["references"], strict=True):
        assert len(reference.embedding.vector) == wanted["dimensions"]
        assert reference.enrolled_at == stored["enrolled_at"]
        assert reference.source == stored["source"]
        assert reference.quality == SampleQuality(**stored["quality"])
        # A template of version 1 is of one look, and its poses are told from what was measured.
        assert reference.look == stored.get("look", "default")
        assert reference.pose == Pose(stored.get("pose", "straight"))
        live = stored.get("live")
        assert reference.live == (None if live is None else LiveScore(**live))


def test_the_vectors_are_what_the_second_implementation_writes() -> None:
    """`generate.py` shares no code with the store, so the format has two writers and one reader."""
    vectors = runpy.run_path(str(VECTORS / "generate.py"))["vectors"]()
    assert sorted(vectors) == NAMES
    assert len(NAMES) > 50
    for name, (file, expected) in vectors.items():
        assert (VECTORS / f"{name}.template").read_bytes() == file
        assert json.loads((VECTORS / f"{name}.json").read_text(encoding="ascii")) == expected
