"""Read the tensors of a PyTorch checkpoint without PyTorch, and without trusting it.

A checkpoint is a pickle, and a pickle is a program. The unpickler here knows eight names, all of
which only build plain containers and tensor descriptions; any other name is refused before it is
looked up. Both containers that `torch.save` has written are read: the zip of today, and the run of
pickles followed by raw storages of before 2020, which the published face models still use.

Source: `torch/serialization.py` describes both layouts.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.errors import ModelError

MAX_BYTES: Final = 1 << 30
LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
LEGACY_VERSION: Final = 1001
HINT: Final = "get the file again from where it is published, and check its SHA-256"

# By name and not as numpy types: an unpickler can change the state of any object that it is given.
_DTYPES: Final[Mapping[str, str]] = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
}


@dataclass(frozen=True, slots=True)
class _Storage:
    """A run of numbers that the pickle names and the container holds elsewhere."""

    key: str
    dtype: np.dtype[Any]
    length: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A view of a storage. Offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Dict(dict[Any, Any]):
    """Stands in for OrderedDict, and drops the attributes that a state dict carries."""

    def __setstate__(self, state: object) -> None:
        pass


def read_checkpoint(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a state dict by name.

    Args:
        path: A file that `torch.save(model.state_dict(), path)` wrote.

    Raises:
        ModelError: It cannot be read, is not such a file, is cut short, or asks for anything but
            tensors.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelError(f"{path} has {size} bytes, more than any face model", hint=HINT)
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    reader = _read_zip if data[:2] == b"PK" else _read_legacy
    try:
        state, storages = reader(data)
        return {name: _resolve(tensor, storages) for name, tensor in state.items()}
    except ModelError as error:
        raise ModelError(f"{path}: {error.message}", hint=HINT) from error
    # A damaged pickle can raise nearly anything from inside the standard library.
    except Exception as error:
        raise ModelError(
            f"{path} is not a PyTorch state dict, or is damaged: {error}", hint=HINT
        ) from error


class _Unpickler(pickle.Unpickler):
    """Builds containers, tensor descriptions and nothing else."""

    def find_class(self, module: str, name: str) -> object:
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        known = _KNOWN.get((module, name))
        if known is None:
            raise ModelError(f"the checkpoint asks to load {module}.{name}, which is no tensor")
        return known

    def persistent_load(self, pid: tuple[Any, ...]) -> _Storage:
        kind, dtype, key, _location, length, *_ = pid
        if kind != "storage" or dtype not in _DTYPES.values():
            raise ModelError(f"the checkpoint refers to a {kind!r}, which is no tensor")
        return _Storage(str(key), np.dtype(dtype), int(length))


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: Iterable[int], strides: Iterable[int], *_: object
) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _rebuild_parameter(tensor: _Tensor, *_: object) -> _Tensor:
    return tensor


_KNOWN: Final[Mapping[tuple[str, str], Callable[..., object]]] = {
    ("collections", "OrderedDict"): _Dict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


def _read_zip(data: bytes) -> tuple[dict[str, _Tensor], dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        # PyTorch stores without compression; a compressed member could expand without end.
        if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise ModelError("the checkpoint is compressed, which PyTorch never does")
        if members.get("byteorder") and archive.read(members["byteorder"]) != b"little":
            raise ModelError("the checkpoint was written on a big-endian machine")
        if "data.pkl" not in members:
            raise ModelError("the zip holds no data.pkl, so it is no checkpoint")
        state = _state_dict(_Unpickler(io.BytesIO(archive.read(members["data.pkl"]))).load())
        keys = {tensor.storage.key for tensor in state.values()}
        return state, {key: archive.read(members[f"data/{key}"]) for key in keys}


def _read_legacy(data: bytes) -> tuple[dict[str, _Tensor], dict[str, bytes]]:
    stream = io.BytesIO(data)
    magic, version, _system = (_Unpickler(stream).load() for _ in range(3))
    if magic != LEGACY_MAGIC or version != LEGACY_VERSION:
        raise ModelError("the file does not begin like a checkpoint")
    state = _state_dict(_Unpickler(stream).load())
    item_bytes = {t.storage.key: t.storage.dtype.itemsize for t in state.values()}
    storages: dict[str, bytes] = {}
    for key in _Unpickler(stream).load():
        length = int.from_bytes(stream.read(8), "little")
        storages[str(key)] = stream.read(length * item_bytes[str(key)])
    return state, storages


def _state_dict(loaded: object) -> dict[str, _Tensor]:
    if not isinstance(loaded, dict) or not loaded:
        raise ModelError("the checkpoint holds no state dict")
    for name, tensor in loaded.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise ModelError(f"the checkpoint's entry {name!r} is no tensor")
    return loaded


def _resolve(tensor: _Tensor, storages: Mapping[str, bytes]) -> NDArray[Any]:
    """Copy a tensor out of its storage, checking every bound: strides come from the file."""
    values = np.frombuffer(storages[tensor.storage.key], tensor.storage.dtype)
    if len(values) != tensor.storage.length:
        raise ModelError("the checkpoint is cut short")
    if len(tensor.shape) != len(tensor.strides) or min((0, *tensor.shape, *tensor.strides)) < 0:
        raise ModelError("the checkpoint describes an impossible tensor")
    last = tensor.offset + sum(
        (n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True)
    )
    # A stride of 0 repeats numbers: without the first test a few bytes could fill the memory.
    if math.prod(tensor.shape) > len(values) or not 0 <= tensor.offset <= last < len(values):
        raise ModelError("the checkpoint describes a tensor outside its storage")
    view = np.lib.stride_tricks.as_strided(
        values[tensor.offset :],
        tensor.shape,
        [stride * values.itemsize for stride in tensor.strides],
        writeable=False,
    )
    return np.ascontiguousarray(view).reshape(tensor.shape)
