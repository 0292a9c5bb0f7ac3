"""The network: one small tower for what surrounds a face, one for the face, and one number."""

from __future__ import annotations

import torch
from torch import nn

WIDTHS = (24, 40, 56, 80)
STRIDES = (4, 2, 1, 2)


def convolution(given: int, made: int, size: int, stride: int) -> list[nn.Module]:
    """Return a convolution, its normalisation and its threshold."""
    return [
        nn.Conv2d(given, made, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(made),
        nn.ReLU(inplace=True),
    ]


class Tower(nn.Module):
    """(N, 3, 80, 80) to (N, 2 C): mean and largest value of each map over the square."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third, last = WIDTHS
        self.layers = nn.Sequential(
            *convolution(3, first, 7, STRIDES[0]),
            *convolution(first, second, 3, STRIDES[1]),
            *convolution(second, third, 3, STRIDES[2]),
            *convolution(third, last, 3, STRIDES[3]),
        )

    def forward(self, square: torch.Tensor) -> torch.Tensor:
        """Return what a tower makes of its square."""
        maps = self.layers(square)
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)


class AttackNet(nn.Module):
    """Pixels of 0 to 255 in, the logarithm of the odds that a face is bona fide out."""

    def __init__(self) -> None:
        super().__init__()
        self.surroundings, self.face = Tower(), Tower()
        width = 4 * WIDTHS[-1]
        self.judge = nn.Sequential(
            nn.Dropout(0.3), nn.Linear(width, 64), nn.ReLU(inplace=True), nn.Linear(64, 1)
        )
        # Each tower also has to answer alone, so that neither leans on the other.
        self.alone = nn.ModuleList(nn.Linear(2 * WIDTHS[-1], 1) for _ in range(2))

    def towers(
        self, surroundings: torch.Tensor, face: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what each tower makes of its square."""
        return self.surroundings(surroundings / 127.5 - 1), self.face(face / 127.5 - 1)

    def forward(self, surroundings: torch.Tensor, face: torch.Tensor) -> torch.Tensor:
        """Return the answer of both towers, (N, 1)."""
        return self.judge(torch.cat(self.towers(surroundings, face), 1))

    def answers(
        self, surroundings: torch.Tensor, face: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the answer of both towers and of each alone, (N,) each, for training."""
        wide, near = self.towers(surroundings, face)
        return (
            self.judge(torch.cat([wide, near], 1))[:, 0],
            self.alone[0](wide)[:, 0],
            self.alone[1](near)[:, 0],
        )
