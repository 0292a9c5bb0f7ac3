"""The template key as an encrypted credential of systemd, which binds it to this machine.

systemd-creds(1) does the work: `host` seals with a secret in /var/lib/systemd that only root can
read, `tpm2` with the machine's TPM and the state of its secure boot (PCR 7), `host+tpm2` with both.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import subprocess
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Final

from pam_faceid.adapters.vault.sealing import KEY_BYTES
from pam_faceid.core.errors import VaultError

SYSTEMD_CREDS: Final = "/usr/bin/systemd-creds"
TPM_DEVICES: Final = Path("/sys/class/tpmrm")
# Measured 0.2 to 0.5 s with a TPM. A login waits for it, while the camera looks.
_OPEN_SECONDS: Final = 15.0
_SEAL_SECONDS: Final = 60.0
_MAX_REASON: Final = 200
_LOCKED_OUT: Final = b"dictionary attack lockout"  # in systemd's own words


class Place(Enum):
    """Where the template key lies, and what opens it."""

    FILE = "file"
    HOST = "host"
    TPM2 = "tpm2"
    HOST_AND_TPM2 = "host+tpm2"


# The first 16 bytes of a credential. Source: systemd 252, src/shared/creds-util.h. The longer
# lists of later versions are asked for, not known: see `place_of`.
_KINDS: Final = {
    "5a1c6a86df9d4096b1d5a65e0862f19a": Place.HOST,
    "0c7cc07b117645919c4b0bea08bc20fe": Place.TPM2,
    "93a894094874449090caf2fc93cab553": Place.HOST_AND_TPM2,
}
_KIND_BYTES: Final = 16


def seal_credential(key: bytes | bytearray, *, place: Place, name: str) -> bytes:
    """Seal a key for this machine.

    Args:
        key: The template key.
        place: Any but FILE.
        name: Of the credential; it opens under no other.

    Raises:
        VaultError: systemd-creds is not there or says no, for want of a TPM for example.
    """
    ended, sealed = _run(
        ("encrypt", f"--with-key={place.value}", f"--name={name}", "-", "-"),
        given=bytes(key),
        seconds=_SEAL_SECONDS,
        room=1 << 16,
    )
    if ended.returncode != 0:
        raise VaultError(
            f"systemd cannot seal the template key with {place.value}: {_reason(ended)}",
            hint="the key stays where it is; see what this machine offers: faceid-admin key status",
        )
    return bytes(sealed)


def open_credential(sealed: bytes, *, name: str, origin: str) -> bytearray:
    """Open a sealed key.

    Args:
        sealed: The whole file.
        name: As it was sealed under.
        origin: The file's name, for messages.

    Returns:
        What it holds, cut after one byte more than a key has, in a buffer of the caller's own.

    Raises:
        VaultError: systemd-creds is not there, or this machine cannot open it, or not any more.
    """
    ended, key = _run(
        ("decrypt", f"--name={name}", "-", "-"),
        given=sealed,
        seconds=_OPEN_SECONDS,
        room=KEY_BYTES + 1,
    )
    if ended.returncode != 0:
        raise VaultError(
            f"systemd cannot open the sealed template key {origin}: {_reason(ended)}",
            hint=_cure(_KINDS.get(_kind(sealed)), said=ended.stderr),
        )
    return key


def place_of(sealed: bytes) -> Place | None:
    """Tell what opens a credential; None when this machine cannot tell.

    A kind that is not known is compared with what this machine's own systemd-creds makes.
    """
    kind = _kind(sealed)
    if kind in _KINDS:
        return _KINDS[kind]
    for place in offered():
        if place is not Place.FILE:
            with suppress(VaultError):
                if _kind(seal_credential(bytes(KEY_BYTES), place=place, name="probe")) == kind:
                    return place
    return None


def offered() -> list[Place]:
    """Return the places that this machine has the means for, whether or not they work."""
    places = [Place.FILE]
    if os.access(SYSTEMD_CREDS, os.X_OK):
        places.append(Place.HOST)
        if TPM_DEVICES.is_dir() and any(TPM_DEVICES.iterdir()):
            places += [Place.TPM2, Place.HOST_AND_TPM2]
    return places


def _kind(sealed: bytes) -> str:
    with suppress(binascii.Error):
        return base64.b64decode(b"".join(sealed[:64].split())[:24])[:_KIND_BYTES].hex()
    return ""


def _run(
    arguments: tuple[str, ...], *, given: bytes, seconds: float, room: int
) -> tuple[subprocess.CompletedProcess[bytes], bytearray]:
    """Run systemd-creds; what it wrote comes back in a buffer that can be overwritten."""
    answer = bytearray(room)
    reading, writing = os.pipe()
    with io.FileIO(reading, "rb") as pipe:
        try:
            # A key and a credential are smaller than the pipe: nobody has to read meanwhile.
            ended = subprocess.run(  # noqa: S603 (absolute path, arguments of our own)
                (SYSTEMD_CREDS, *arguments),
                input=given,
                stdout=writing,
                stderr=subprocess.PIPE,
                env={},
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise VaultError(
                f"systemd-creds gave no answer in {seconds:g} s",
                hint="see the TPM's messages: journalctl -k -g tpm",
            ) from error
        except OSError as error:
            raise VaultError(
                f"cannot run {SYSTEMD_CREDS}: {error.strerror}",
                hint="sealed keys need systemd 250 or newer; else: faceid-admin key move --to file",
            ) from error
        finally:
            os.close(writing)
        size = 0
        while size < room and (more := pipe.readinto(memoryview(answer)[size:])):
            size += more
    del answer[size:]
    return ended, answer


def _reason(ended: subprocess.CompletedProcess[bytes]) -> str:
    """Return the last line of what systemd-creds complained of."""
    lines = ended.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
    shown = "".join(c if c.isprintable() else "?" for c in lines[-1].strip())
    return shown[:_MAX_REASON]


def _cure(place: Place | None, *, said: bytes) -> str:
    if _LOCKED_OUT in said:  # power cuts count too, and some take three
        return (
            "the TPM has counted too many failures and answers nobody for a while: wait, "
            "or: tpm2_dictionarylockout --clear-lockout"
        )
    gone = "if it is gone for good: remove the file, run install.sh, then restore a backup or enrol"
    if place is Place.HOST:
        return f"is /var/lib/systemd/credential.secret this machine's own? {gone}"
    if Place.TPM2 not in offered():
        return f"this machine shows no TPM now: switch it on in its firmware setup; {gone}"
    return f"is secure boot as it was when the key was sealed, and the TPM the same one? {gone}"
