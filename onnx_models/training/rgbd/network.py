"""Two SqueezeNets, one over the colours and one over the relief: 64 numbers each.

Source of the fire modules and their widths: Iandola et al., SqueezeNet, arXiv:1602.07360, version
1.1. Ours differs in three things: batch normalisation follows each convolution, and is folded into
it for export; and where the original takes the mean over the whole picture, this keeps the places,
because in an aligned face a place means something; and it is half as wide.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

DIMENSIONS = 64  # of each
WIDTH = 0.5  # share of SqueezeNet 1.1's channels


class Convolution(nn.Sequential):
    """Convolution, normalisation, rectifier."""

    def __init__(self, inputs: int, outputs: int, *, size: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Fire(nn.Module):
    """Squeeze to few channels, then expand by 1x1 and 3x3 side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = Convolution(inputs, squeezed, size=1)
        self.narrow = Convolution(squeezed, expanded, size=1)
        self.wide = Convolution(squeezed, expanded, size=3)

    def forward(self, planes: Tensor) -> Tensor:
        """Return twice `expanded` channels."""
        squeezed = self.squeeze(planes)
        return torch.cat([self.narrow(squeezed), self.wide(squeezed)], dim=1)


class Tower(nn.Module):
    """(N, C, S, S) in +-1 becomes (N, 64) of unit length.

    Args:
        channels: C.
        side: S, px, a multiple of 16.
    """

    def __init__(self, channels: int, *, side: int) -> None:
        super().__init__()

        def share(of_the_original: int) -> int:
            return round(of_the_original * WIDTH)

        def fire(inputs: int, squeezed: int, expanded: int) -> Fire:
            return Fire(share(inputs), share(squeezed), share(expanded))

        self.features = nn.Sequential(
            Convolution(channels, share(64), size=3, stride=2),
            nn.MaxPool2d(3, 2, 1),
            fire(64, 16, 64),
            fire(128, 16, 64),
            nn.MaxPool2d(3, 2, 1),
            fire(128, 32, 128),
            fire(256, 32, 128),
            nn.MaxPool2d(3, 2, 1),
            fire(256, 48, 192),
            fire(384, 48, 192),
            fire(384, 64, 256),
            Convolution(share(512), 64, size=1),
        )
        self.drop = nn.Dropout(0.1)
        self.embed = nn.Linear(64 * (side // 16) ** 2, DIMENSIONS)

    def forward(self, planes: Tensor) -> Tensor:
        """Return (N, 64)."""
        flat = self.features(planes).flatten(1)
        return nn.functional.normalize(self.embed(self.drop(flat)), dim=1)


def contrastive_loss(vectors: Tensor, person: Tensor, *, margin: float) -> Tensor:
    """Return the contrastive loss over every pair of a batch.

    Two of one person are drawn together, by the square of their distance; two people apart until
    they are `margin` away, by the square of what lacks. Both kinds count alike, and of two people
    only the pairs that are not apart yet: else the many easy ones would hide the few that matter.

    Args:
        vectors: (N, D) of unit length.
        person: (N,).
        margin: Euclidean; two random unit vectors are 1.41 apart.

    Source: Hadsell, Chopra and LeCun, Dimensionality Reduction by Learning an Invariant Mapping,
    2006.
    """
    squared = (2 - 2 * vectors @ vectors.T).clamp_min(1e-9)
    same = person[:, None] == person[None, :]
    another = ~torch.eye(len(person), dtype=torch.bool)
    together = squared[same & another].mean()
    lacking = (margin - squared[~same].sqrt()).clamp_min(0) ** 2
    apart = lacking.sum() / (lacking > 0).sum().clamp_min(1)
    return together + apart
