"""Fit the network to samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from network import AttackNet
from numpy.typing import NDArray
from torch.nn import functional

BATCH: Final = 64
ALONE: Final = 0.3  # weight of what each tower answers alone
SMOOTH: Final = 0.03  # no sample is certain: a label may be wrong, and no score should be endless
AVERAGE: Final = 0.998  # share of the mean weights that a step leaves


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast.

    Args:
        steps: Batches.
        rate: Highest learning rate.
        seed: Of order and augmentation.
    """

    steps: int
    rate: float
    seed: int


def fit(  # noqa: PLR0917 (what a run is made of)
    net: AttackNet,
    squares: NDArray[np.uint8],
    live: NDArray[np.bool_],
    weights: NDArray[np.float64],
    schedule: Schedule,
    log: Callable[[str], None],
) -> AttackNet:
    """Train on samples drawn by weight, and return the running mean of the weights passed through.

    Args:
        squares: (N, 2, S, S, 3) uint8.
        live, weights: (N,).
        log: Takes a line every hundred steps.
    """
    mean = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE), use_buffers=True
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=schedule.rate, weight_decay=0.02)
    pace = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, schedule.rate, total_steps=schedule.steps, pct_start=0.15
    )
    net.train()
    total = right = 0.0
    for step, (wide, near, target) in enumerate(_batches(squares, live, weights, schedule), 1):
        both, one, other = net.answers(wide, near)
        smooth = target * (1 - 2 * SMOOTH) + SMOOTH
        loss = functional.binary_cross_entropy_with_logits(both, smooth)
        for alone in (one, other):
            loss = loss + ALONE * functional.binary_cross_entropy_with_logits(alone, smooth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        pace.step()
        mean.update_parameters(net)
        total += float(loss.detach())
        right += float(((both > 0) == (target > 0.5)).float().mean())
        if step % 100 == 0:
            log(f"step {step}: loss {total / 100:.4f}, right {right / 100:.4f}")
            total = right = 0.0
    fitted: AttackNet = mean.module.eval()
    return fitted


def _batches(
    squares: NDArray[np.uint8],
    live: NDArray[np.bool_],
    weights: NDArray[np.float64],
    schedule: Schedule,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    random = np.random.default_rng(schedule.seed)
    chance = weights / weights.sum()
    for _ in range(schedule.steps):
        drawn = np.sort(random.choice(len(squares), BATCH, p=chance))
        batch = np.stack([_altered(squares[index], random) for index in drawn])
        contrast = np.exp(random.normal(0, 0.08, (BATCH, 1)))
        tint = np.exp(random.normal(0, 0.12, (BATCH, 1)) + random.normal(0, 0.06, (BATCH, 3)))
        gain = torch.from_numpy((contrast * tint).astype(np.float32))[:, :, None, None]
        shift = torch.from_numpy((127.5 * (1 - contrast) * tint).astype(np.float32))
        planes = torch.from_numpy(batch).permute(1, 0, 4, 2, 3)
        # The strides stay those of the pixels, which is PyTorch's "channels last".
        wide, near = (
            (one.float() * gain + shift[:, :, None, None]).clamp(0, 255) for one in planes
        )
        yield wide, near, torch.from_numpy(live[drawn].astype(np.float32))


def _altered(pair: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Mirror, shift, and sometimes hide: nothing that makes an attack of a live face."""
    pair = np.array(pair[:, :, ::-1] if random.random() < 0.5 else pair)
    for square in range(2):
        shift = tuple(random.integers(-2, 3, 2).tolist())
        pair[square] = np.roll(pair[square], shift, axis=(0, 1))
    draw = random.random()
    if draw < 0.1:
        pair[0] = 0  # the face alone must do
    elif draw < 0.16:
        pair[1] = 0
    elif draw < 0.35:  # part of what surrounds the face is hidden
        x, y, w, h = random.integers((0, 0, 10, 10), (70, 70, 45, 45))
        pair[0, y : y + h, x : x + w] = int(random.integers(256))
    return pair
