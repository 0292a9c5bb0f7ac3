"""MiniFASNet without weights: skeletons to which a user's own checkpoints are added.

Two networks of Silent-Face-Anti-Spoofing (Apache-2.0), whose pruned widths differ. The metadata
says which tensor of a checkpoint becomes which weight; normalisations are folded when weights are
added.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from recipes.graph import Graph

CLASSES = 3
SQUEEZE = 4


@dataclass(frozen=True)
class Widths:
    """Channels between the two pointwise layers of each residual block, stage by stage.

    Args:
        excites: Whether the last block of a stage weighs its channels.
    """

    name: str
    stages: tuple[tuple[int, ...], ...]
    excites: bool


V2 = Widths("minifasnet_v2", ((13, 13, 13, 13), (231, 52, 26, 77, 26, 26), (26, 26)), excites=False)
V1SE = Widths(
    "minifasnet_v1se", ((13, 26, 13, 52), (154, 52, 26, 52, 26, 26), (26, 26)), excites=True
)
# What leads to each stage: its name, the channels between, and the channels after.
DOWN = (("conv_23", 103, 64), ("conv_34", 231, 128), ("conv_45", 308, 128))


class _Net:
    """Adds layers to the graph, and notes what each wants of the checkpoint."""

    def __init__(self, name: str) -> None:
        self.graph = Graph(name)
        self.layers: list[dict[str, Any]] = []

    def note(self, name: str, shape: list[int], weight: str, **fold: str) -> None:
        """Say what a layer is made from."""
        self.layers.append({"name": name, "shape": shape, "weight": weight, **fold})

    def convolution(
        self,
        name: str,
        x: str,
        shape: list[int],
        *,
        stride: int = 1,
        pad: int = 0,
        group: int = 1,
        activation: str = "",
    ) -> str:
        """A convolution with its normalisation, and a PReLU where upstream has one."""
        self.note(name, shape, f"{name}.conv.weight", batch_norm=f"{name}.bn", slope=activation)
        inputs = [x, f"{name}.weight", f"{name}.bias"]
        how = {"strides": [stride] * 2, "pads": [pad] * 4, "group": group}
        y = self.graph.node("Conv", inputs, f"{name}.y", **how)
        return self.graph.node("PRelu", [y, f"{name}.slope"], f"{name}.out") if activation else y

    def active(self, name: str, x: str, shape: list[int], **how: int) -> str:
        return self.convolution(name, x, shape, activation=f"{name}.prelu.weight", **how)

    def block(self, name: str, x: str, widths: tuple[int, int, int], *, stride: int) -> str:
        """Widen, look around within each channel, and narrow again."""
        given, between, made = widths
        x = self.active(f"{name}.conv", x, [between, given, 1, 1])
        x = self.active(
            f"{name}.conv_dw", x, [between, 1, 3, 3], stride=stride, pad=1, group=between
        )
        return self.convolution(f"{name}.project", x, [made, between, 1, 1])

    def excited(self, name: str, x: str, channels: int) -> str:
        """Weigh each channel by what all of them are on average."""
        y = self.graph.node("GlobalAveragePool", [x], f"{name}.mean")
        for number, shape in ((1, [channels // SQUEEZE, channels, 1, 1]),
                              (2, [channels, channels // SQUEEZE, 1, 1])):  # fmt: skip
            part = f"{name}.fc{number}"
            norm = f"{name}.bn{number}"
            self.note(part, shape, f"{part}.weight", batch_norm=norm)
            y = self.graph.node("Conv", [y, f"{part}.weight", f"{part}.bias"], f"{part}.y")
            y = self.graph.node("Relu" if number == 1 else "Sigmoid", [y], f"{part}.out")
        return self.graph.node("Mul", [x, y], f"{name}.out")


def minifasnet(widths: Widths) -> bytes:
    """Return the skeleton: (1, 3, 80, 80) BGR of 0 to 255 in, (1, 3) probabilities out."""
    net = _Net(widths.name)
    x = net.active("conv1", "pixels", [32, 3, 3, 3], stride=2, pad=1)
    x = net.active("conv2_dw", x, [32, 1, 3, 3], pad=1, group=32)
    channels = 32
    for (down, between, made), (stage, blocks) in zip(
        DOWN, zip(("conv_3", "conv_4", "conv_5"), widths.stages, strict=True), strict=True
    ):
        x = net.block(down, x, (channels, between, made), stride=2)
        channels = made
        for number, inner in enumerate(blocks):
            name = f"{stage}.model.{number}"
            y = net.block(name, x, (channels, inner, channels), stride=1)
            if widths.excites and number == len(blocks) - 1:
                y = net.excited(f"{name}.se_module", y, channels)
            x = net.graph.node("Add", [x, y], f"{name}.sum")
    x = net.active("conv_6_sep", x, [512, 128, 1, 1])
    x = net.convolution("conv_6_dw", x, [512, 1, 5, 5], group=512)
    x = net.graph.node("Flatten", [x], "flat")
    net.note("linear", [128, 512], "linear.weight", batch_norm="bn")
    x = net.graph.node("Gemm", [x, "linear.weight", "linear.bias"], "features", transB=1)
    net.note("prob", [CLASSES, 128], "prob.weight")
    x = net.graph.node("Gemm", [x, "prob.weight"], "classes", transB=1)
    net.graph.node("Softmax", [x], "probability", axis=1)
    return net.graph.model(
        {"pixels": [1, 3, 80, 80]},
        {"probability": [1, CLASSES]},
        complete=False,
        metadata={"layers": json.dumps(net.layers)},
    )
