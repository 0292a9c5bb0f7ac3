"""InceptionResnetV1 without weights: a skeleton to which a user's own checkpoint is added.

It has every node and no weight. Its metadata tells `faceid-admin models add vggface2` which tensors
of the checkpoint become which weights. The architecture is the one of facenet-pytorch. The block
scales and every batch normalisation are folded when the weights are added.
"""

from __future__ import annotations

import json
from typing import Any

from recipes.graph import Graph


class _Inception:
    """Adds layers to the graph, and notes what each wants of the checkpoint."""

    def __init__(self) -> None:
        self.graph = Graph("inception_resnet_v1")
        self.layers: list[dict[str, Any]] = []

    def _note(self, name: str, shape: list[int], **fold: str | float) -> list[str]:
        self.layers.append({"name": name, "shape": shape, **fold})
        return [self.graph.absent_weight(f"{name}.weight"), f"{name}.bias"]

    def basic(
        self,
        name: str,
        x: str,
        shape: tuple[int, int],
        kernel: tuple[int, int] = (1, 1),
        *,
        stride: int = 1,
        same: bool = False,
    ) -> str:
        """A convolution without bias, its batch normalisation, and a ReLU."""
        pad_h, pad_w = (kernel[0] // 2, kernel[1] // 2) if same else (0, 0)
        weights = self._note(
            name,
            [shape[1], shape[0], *kernel],
            weight=f"{name}.conv.weight",
            batch_norm=f"{name}.bn",
        )
        y = self.graph.node(
            "Conv",
            [x, *weights],
            f"{name}.y",
            strides=[stride, stride],
            pads=[pad_h, pad_w, pad_h, pad_w],
        )
        return self.graph.node("Relu", [y], f"{name}.relu")

    def residual(
        self,
        name: str,
        x: str,
        branches: list[str],
        width: tuple[int, int],
        *,
        scale: float,
        relu: bool = True,
    ) -> str:
        """Join the branches, project them, scale, and add them to what came in."""
        joined = self.graph.node("Concat", branches, f"{name}.joined", axis=1)
        weights = self._note(
            f"{name}.conv2d",
            [width[1], width[0], 1, 1],
            weight=f"{name}.conv2d.weight",
            bias=f"{name}.conv2d.bias",
            scale=scale,
        )
        y = self.graph.node("Conv", [joined, *weights], f"{name}.projected")
        y = self.graph.node("Add", [y, x], f"{name}.sum")
        return self.graph.node("Relu", [y], f"{name}.out") if relu else y

    def pool(self, name: str, x: str) -> str:
        return self.graph.node("MaxPool", [x], name, kernel_shape=[3, 3], strides=[2, 2])

    def dense(self, x: str) -> None:
        """The embedding: mean over the grid, a dense layer, its batch normalisation."""
        x = self.graph.node("GlobalAveragePool", [x], "mean")
        x = self.graph.node("Flatten", [x], "flat")
        weights = self._note(
            "last_linear", [512, 1792], weight="last_linear.weight", batch_norm="last_bn"
        )
        self.graph.node("Gemm", [x, *weights], "embedding", transB=1)


def inception_resnet_v1() -> bytes:
    """Return the skeleton: (1, 3, 160, 160) normalised RGB in, (1, 512) out."""
    net = _Inception()
    x = _stem(net)
    for i in range(5):
        x = _block35(net, f"repeat_1.{i}", x)
    x = _mixed_6a(net, x)
    for i in range(10):
        x = _block17(net, f"repeat_2.{i}", x)
    x = _mixed_7a(net, x)
    for i in range(5):
        x = _block8(net, f"repeat_3.{i}", x, scale=0.20)
    net.dense(_block8(net, "block8", x, scale=1.0, relu=False))
    return net.graph.model(
        {"pixels": [1, 3, 160, 160]},
        {"embedding": [1, 512]},
        complete=False,
        metadata={"layers": json.dumps(net.layers)},
    )


def _stem(net: _Inception) -> str:
    x = net.basic("conv2d_1a", "pixels", (3, 32), (3, 3), stride=2)
    x = net.basic("conv2d_2a", x, (32, 32), (3, 3))
    x = net.basic("conv2d_2b", x, (32, 64), (3, 3), same=True)
    x = net.pool("maxpool_3a", x)
    x = net.basic("conv2d_3b", x, (64, 80))
    x = net.basic("conv2d_4a", x, (80, 192), (3, 3))
    return net.basic("conv2d_4b", x, (192, 256), (3, 3), stride=2)


def _block35(net: _Inception, name: str, x: str) -> str:
    a = net.basic(f"{name}.branch0", x, (256, 32))
    b = net.basic(f"{name}.branch1.0", x, (256, 32))
    b = net.basic(f"{name}.branch1.1", b, (32, 32), (3, 3), same=True)
    c = net.basic(f"{name}.branch2.0", x, (256, 32))
    c = net.basic(f"{name}.branch2.1", c, (32, 32), (3, 3), same=True)
    c = net.basic(f"{name}.branch2.2", c, (32, 32), (3, 3), same=True)
    return net.residual(name, x, [a, b, c], (96, 256), scale=0.17)


def _mixed_6a(net: _Inception, x: str) -> str:
    a = net.basic("mixed_6a.branch0", x, (256, 384), (3, 3), stride=2)
    b = net.basic("mixed_6a.branch1.0", x, (256, 192))
    b = net.basic("mixed_6a.branch1.1", b, (192, 192), (3, 3), same=True)
    b = net.basic("mixed_6a.branch1.2", b, (192, 256), (3, 3), stride=2)
    c = net.pool("mixed_6a.branch2", x)
    return net.graph.node("Concat", [a, b, c], "mixed_6a", axis=1)


def _block17(net: _Inception, name: str, x: str) -> str:
    a = net.basic(f"{name}.branch0", x, (896, 128))
    b = net.basic(f"{name}.branch1.0", x, (896, 128))
    b = net.basic(f"{name}.branch1.1", b, (128, 128), (1, 7), same=True)
    b = net.basic(f"{name}.branch1.2", b, (128, 128), (7, 1), same=True)
    return net.residual(name, x, [a, b], (256, 896), scale=0.10)


def _mixed_7a(net: _Inception, x: str) -> str:
    a = net.basic("mixed_7a.branch0.0", x, (896, 256))
    a = net.basic("mixed_7a.branch0.1", a, (256, 384), (3, 3), stride=2)
    b = net.basic("mixed_7a.branch1.0", x, (896, 256))
    b = net.basic("mixed_7a.branch1.1", b, (256, 256), (3, 3), stride=2)
    c = net.basic("mixed_7a.branch2.0", x, (896, 256))
    c = net.basic("mixed_7a.branch2.1", c, (256, 256), (3, 3), same=True)
    c = net.basic("mixed_7a.branch2.2", c, (256, 256), (3, 3), stride=2)
    d = net.pool("mixed_7a.branch3", x)
    return net.graph.node("Concat", [a, b, c, d], "mixed_7a", axis=1)


def _block8(net: _Inception, name: str, x: str, *, scale: float, relu: bool = True) -> str:
    a = net.basic(f"{name}.branch0", x, (1792, 192))
    b = net.basic(f"{name}.branch1.0", x, (1792, 192))
    b = net.basic(f"{name}.branch1.1", b, (192, 192), (1, 3), same=True)
    b = net.basic(f"{name}.branch1.2", b, (192, 192), (3, 1), same=True)
    return net.residual(name, x, [a, b], (384, 1792), scale=scale, relu=relu)
