"""PyTorch checkpoints made without PyTorch: generated weights, in both formats of `torch.save`.

`onnx_models/parity_reference.py` gives the same weights to facenet-pytorch itself, so that what it
computes with them can be compared with what we compute, on machines without PyTorch.
"""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.models.protobuf import metadata

Tensors = Mapping[str, NDArray[Any]]
SEED = 20180402
STORAGES = {"<f4": b"FloatStorage", "<i8": b"LongStorage"}


def inception_tensors(skeleton: bytes) -> dict[str, NDArray[Any]]:
    """Return a state dict for InceptionResnetV1, as large as real weights are."""
    # RandomState, because its numbers are promised never to change between releases of numpy.
    random = np.random.RandomState(SEED)
    tensors: dict[str, NDArray[Any]] = {}
    for layer in json.loads(metadata(skeleton)["layers"]):
        outputs = layer["shape"][0]
        spread = np.sqrt(2 / np.prod(layer["shape"][1:]))
        tensors[layer["weight"]] = spread * random.standard_normal(layer["shape"])
        if "bias" in layer:
            tensors[layer["bias"]] = 0.1 * random.standard_normal(outputs)
        if "batch_norm" in layer:
            norm = layer["batch_norm"]
            tensors[f"{norm}.weight"] = random.uniform(0.8, 1.2, outputs)
            tensors[f"{norm}.bias"] = 0.1 * random.standard_normal(outputs)
            tensors[f"{norm}.running_mean"] = 0.1 * random.standard_normal(outputs)
            tensors[f"{norm}.running_var"] = random.uniform(0.5, 1.5, outputs)
    return {name: values.astype("<f4") for name, values in tensors.items()}


def coloured_squares() -> list[NDArray[np.uint8]]:
    """Return three crops, (160, 160, 3) uint8, in place of faces."""
    random = np.random.RandomState(SEED)
    squares = random.randint(0, 256, (3, 10, 10, 3))
    return [np.kron(crop, np.ones((16, 16, 1), int)).astype(np.uint8) for crop in squares]


def save_zip(tensors: Tensors, path: Path) -> None:
    """Write what `torch.save` writes since 2020."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", state_pickle(tensors))
        archive.writestr("archive/byteorder", b"little")
        for i, values in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{i}", values.tobytes())
        archive.writestr("archive/version", b"3\n")


def save_legacy(tensors: Tensors, path: Path) -> None:
    """Write what `torch.save` wrote before 2020, like the published face models."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    with path.open("wb") as file:
        for value in head:
            file.write(pickle.dumps(value, 2))
        file.write(state_pickle(tensors, legacy=True))
        file.write(pickle.dumps([str(i) for i in range(len(tensors))], 2))
        for values in tensors.values():
            file.write(struct.pack("<q", values.size) + values.tobytes())


def state_pickle(tensors: Tensors, *, legacy: bool = False) -> bytes:
    """Return the pickle of a state dict, opcode by opcode: pickle itself would import torch."""
    entries = [
        _text(name) + _tensor(str(i), values, legacy=legacy)
        for i, (name, values) in enumerate(tensors.items())
    ]
    return b"\x80\x02" + ORDERED_DICT + b"(" + b"".join(entries) + b"u."


ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def _tensor(key: str, values: NDArray[Any], *, legacy: bool) -> bytes:
    storage = (
        b"(" + _text("storage") + b"ctorch\n" + STORAGES[values.dtype.str] + b"\n"
        + _text(key) + _text("cpu") + _int(values.size) + (b"N" if legacy else b"") + b"tQ"
    )  # fmt: skip
    strides = [stride // values.itemsize for stride in values.strides]
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + _int(0) + _ints(values.shape)
        + _ints(strides) + b"\x89" + ORDERED_DICT + b"tR"
    )  # fmt: skip


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _int(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _ints(values: Any) -> bytes:
    return b"(" + b"".join(map(_int, values)) + b"t"
