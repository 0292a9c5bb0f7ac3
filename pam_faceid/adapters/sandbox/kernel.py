"""The few kernel calls that Python does not offer."""

from __future__ import annotations

import ctypes
import os


class Kernel:
    """Calls through the C library, with errors as OSError."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def prctl(self, option: int, *values: int) -> int:
        """prctl(2). Raises OSError."""
        arguments = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
        return self._checked(self._libc.prctl(option, *arguments))

    def call(self, number: int, *values: int | ctypes.Array[ctypes.c_char]) -> int:
        """syscall(2), for calls that the C library has no function for. Raises OSError.

        Args:
            number: As this processor's kernel counts them.
            values: Numbers, or a buffer for a pointer to it.
        """
        arguments = [ctypes.c_long(v) if isinstance(v, int) else v for v in values]
        return self._checked(self._libc.syscall(ctypes.c_long(number), *arguments))

    def capget(self, header: bytes, size: int) -> bytes:
        """capget(2): `size` bytes of capability sets. Raises OSError."""
        sets = ctypes.create_string_buffer(size)
        self._checked(self._libc.capget(header, sets))
        return sets.raw

    def capset(self, header: bytes, sets: bytes) -> None:
        """capset(2). Raises OSError."""
        self._checked(self._libc.capset(header, sets))

    def mlockall(self, flags: int) -> None:
        """mlockall(2). Raises OSError."""
        self._checked(self._libc.mlockall(flags))

    @staticmethod
    def _checked(result: int) -> int:
        if result == -1:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result
