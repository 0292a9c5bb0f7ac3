"""The few protobuf messages that adding weights to an ONNX file takes.

Serialised messages concatenate: a parser merges what follows into what came before. So a model
without weights, followed by a model that holds nothing but weights, is the complete model, and
neither the onnx package nor a copy of the first part is needed to write it.

Source: onnx.proto for the field numbers, the protobuf encoding for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MODEL_GRAPH: Final = 7
MODEL_METADATA: Final = 14
GRAPH_INITIALISER: Final = 5
TENSOR_DIMS: Final = 1
TENSOR_DATA_TYPE: Final = 2
TENSOR_NAME: Final = 8
TENSOR_RAW_DATA: Final = 9
DATA_TYPES: Final = {np.dtype("<f4"): 1, np.dtype("<i2"): 5}

_VARINT: Final = 0
_BYTES: Final = 2


def weights_message(weights: Mapping[str, NDArray[Any]]) -> bytes:
    """Return a serialised model that holds only initialisers, little-endian float32 or int16."""
    tensors = (_field(GRAPH_INITIALISER, _tensor(n, values)) for n, values in weights.items())
    return _field(MODEL_GRAPH, b"".join(tensors))


def metadata(model: bytes) -> dict[str, str]:
    """Return what a serialised model says about itself.

    Raises:
        ValueError: It is cut short, or has a field that no ONNX model has.
    """
    entries = (dict(_fields(value)) for n, value in _fields(model) if n == MODEL_METADATA)
    return {entry[1].decode(): entry[2].decode() for entry in entries}


def _tensor(name: str, values: NDArray[Any]) -> bytes:
    parts = [_number(TENSOR_DIMS, length) for length in values.shape]
    parts.append(_number(TENSOR_DATA_TYPE, DATA_TYPES[values.dtype]))
    parts.append(_field(TENSOR_NAME, name.encode()))
    parts.append(_field(TENSOR_RAW_DATA, np.ascontiguousarray(values).tobytes()))
    return b"".join(parts)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the length-delimited fields of a message by number; plain numbers are skipped."""
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        value, position = _read_varint(message, position)
        if tag & 7 == _VARINT:
            continue
        end = position + value
        if tag & 7 != _BYTES or end > len(message):
            raise ValueError("the message is damaged")
        yield tag >> 3, message[position:end]
        position = end


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    for byte in message[position : position + 10]:
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("the message is cut short")
