"""What can stop a verdict from being reached.

An expected ending is an `Outcome`; an exception of this module means that no verdict was possible.
"""

from __future__ import annotations


class FaceIdError(Exception):
    """No verdict was possible.

    Args:
        message: What is wrong and where: names the file, the key or the device.
        hint: What the reader can do about it; empty when there is nothing.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(FaceIdError):
    """The configuration cannot be read or holds a value that is not allowed."""


class ModelError(FaceIdError):
    """A model is missing, altered, or not what its manifest says."""


class CameraError(FaceIdError):
    """No frame can be had from the camera or the recording."""


class CameraBusyError(CameraError):
    """Another process uses the camera. Only a privileged process can tell which."""


class DepthUnknownError(FaceIdError):
    """Too little depth of a face is known to make anything of it."""


class VaultError(FaceIdError):
    """A template or the key cannot be read, opened or written."""


class NotEnrolledError(VaultError):
    """The user has no reference template."""


class AuditError(FaceIdError):
    """The record of an attempt cannot be written, so there is no match."""


class StateError(FaceIdError):
    """What is remembered of a person's attempts cannot be believed, read or written."""


class PrivilegeError(FaceIdError):
    """A privilege that must be given up could not be, or one that is needed is not there."""


class ProtocolError(FaceIdError):
    """The other side of a socket said something that is not in the protocol."""


class EnrolmentError(FaceIdError):
    """The samples do not make a reference template."""


class AccountError(FaceIdError):
    """A name is not that of a local account, or the person's password was not confirmed."""


class PamStackError(FaceIdError):
    """A PAM service file cannot be read or written, or must not be edited as asked."""
