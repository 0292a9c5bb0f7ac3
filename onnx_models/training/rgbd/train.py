"""Train the siamese network on rendered people, and export it.

    python -m onnx_models.training.rgbd.train --crops FOLDER --out FOLDER

Renders what FOLDER lacks, trains both towers, watches people that neither was trained on, and
writes the ONNX file and the logs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onnx_models.recipes.mirrored import mirrored
from onnx_models.training.rgbd import network
from onnx_models.training.rgbd.dataset import MESH, SEED, SIDE, Crops, read, render
from onnx_models.training.rgbd.export import export
from onnx_models.training.rgbd.rates import equal_error_rate, pairs

Tower = Literal["colour", "depth"]
SEEN: Final[dict[Tower, slice]] = {"colour": slice(0, 3), "depth": slice(3, 4)}

# Who is in each file, and on how many days each was seen. People are worth more than days.
TRAINING: Final = {
    "train0.npz": (range(150), 8),
    "train1.npz": (range(150, 300), 8),
    "train2.npz": (range(300, 600), 4),
    "train3.npz": (range(600, 1000), 4),
}
VALIDATION: Final = {"validation.npz": (range(100_000, 100_040), 8)}

PEOPLE_IN_BATCH: Final = 24
EACH_IN_BATCH: Final = 4
MARGIN: Final = 1.2
RATE: Final = 2e-3
WARM_UP: Final = 100
REPORT_EVERY: Final = 100
STEPS: Final = 3000


def load_crops(folder: Path, mesh: Path, *, workers: int) -> tuple[list[Crops], Crops]:
    """Return the crops to train on and those to watch, rendered where a file is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (people, sessions) in {**TRAINING, **VALIDATION}.items():
        if not (folder / name).exists():
            made = render(mesh, seed=SEED, people=people, sessions=sessions, workers=workers)
            made.save(folder / name)
    return [read(folder / name) for name in TRAINING], read(folder / "validation.npz")


def planes(crops: NDArray[np.uint8]) -> Tensor:
    """Return (N, 4, S, S) float32 of (N, S, S, 4) uint8: every channel on the same scale, +-1."""
    values = torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 3, 1, 2))).float()
    return (values - 127.5) / 128.0


def batches(
    crops: NDArray[np.uint8], person: NDArray[np.int32], rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.uint8], Tensor]]:
    """Yield batches without end: some people, some days of each; half of them seen in a mirror."""
    rows = {int(one): np.flatnonzero(person == one) for one in np.unique(person)}
    people = np.array(list(rows))
    while True:
        rng.shuffle(people)
        for begin in range(0, len(people) - PEOPLE_IN_BATCH + 1, PEOPLE_IN_BATCH):
            chosen = people[begin : begin + PEOPLE_IN_BATCH]
            picked = [rng.choice(rows[int(one)], EACH_IN_BATCH, replace=False) for one in chosen]
            batch = crops[np.concatenate(picked)]
            mirrored = np.repeat(rng.random(len(chosen)) < 0.5, EACH_IN_BATCH)
            batch[mirrored] = batch[mirrored, :, ::-1]
            yield batch, torch.arange(len(chosen)).repeat_interleave(EACH_IN_BATCH)


def disturbed(batch: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
    """Return planes with other light, a shift, and patches in which a channel knows nothing."""
    count = len(batch)
    moved = np.stack([np.roll(one, rng.integers(-1, 2, 2), (0, 1)) for one in batch])
    values = planes(moved).numpy()
    colour = values[:, :3]
    colour *= rng.uniform(0.75, 1.25, (count, 1, 1, 1)) * rng.uniform(0.9, 1.1, (count, 3, 1, 1))
    colour += rng.uniform(-0.15, 0.15, (count, 1, 1, 1))
    grey = rng.random(count) < 0.15
    colour[grey] = colour[grey].mean(axis=1, keepdims=True)
    for index in range(count):
        for chance, channels, value in ((0.25, slice(0, 3), 0.0), (0.25, slice(3, 4), -1.0)):
            if rng.random() < chance:
                top, left = rng.integers(0, SIDE, 2)
                height, width = rng.integers(4, SIDE // 3, 2)
                values[index, channels, top : top + height, left : left + width] = value
    return torch.from_numpy(np.clip(values, -1, 1)).float()


def learning_rate(step: int, *, steps: int) -> float:
    """Return the share of `RATE` at a step: a ramp, then half a cosine."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / max(steps - WARM_UP, 1)))


@torch.no_grad()
def embed(tower: network.Tower, crops: NDArray[np.uint8], seen: slice) -> NDArray[np.float32]:
    """Return (N, 64) of (N, S, S, 4) crops."""
    tower.eval()
    parts = [
        tower(planes(crops[begin : begin + 64])[:, seen]) for begin in range(0, len(crops), 64)
    ]
    tower.train()
    return torch.cat(parts).numpy()


def train(name: Tower, *, crops: Path, mesh: Path, steps: int, out: Path) -> None:
    """Train one tower from scratch, on one thread.

    Args:
        name: Which; it sees nothing else.
        crops, mesh: See `load_crops`.
        steps: Batches.
        out: Gets its weights and its log, one JSON object a line, at each report.
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    training, validation = load_crops(crops, mesh, workers=1)
    log = out / f"{name}.log"
    log.write_text("", encoding="utf-8")
    seen = SEEN[name]
    tower = network.Tower(seen.stop - seen.start, side=SIDE).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(tower.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: learning_rate(step, steps=steps)
    )
    source = batches(
        np.concatenate([part.crops for part in training]),
        np.concatenate([part.person for part in training]),
        rng,
    )
    began, losses = time.monotonic(), []
    for step in range(1, steps + 1):
        batch, person = next(source)
        given = disturbed(batch, rng)[:, seen].to(memory_format=torch.channels_last)
        loss = network.contrastive_loss(tower(given), person, margin=MARGIN)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if step % REPORT_EVERY == 0 or step == steps:
            same, different = pairs(embed(tower, validation.crops, seen), validation.person)
            line = {
                "tower": name,
                "step": step,
                "loss": round(float(np.mean(losses)), 4),
                "same": round(float(same.mean()), 3),
                "different": round(float(different.mean()), 3),
                "eer": round(equal_error_rate(same, different), 4),
                "seconds": round(time.monotonic() - began),
            }
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            losses.clear()
            torch.save(tower.state_dict(), out / f"{name}.pt")


def joined(out: Path) -> bytes:
    """Return the ONNX model of both towers, from the weights that `train` left.

    It looks at the face and at its mirror image, as the default embedder does.
    """
    towers = []
    for name, seen in SEEN.items():
        tower = network.Tower(seen.stop - seen.start, side=SIDE)
        tower.load_state_dict(torch.load(out / f"{name}.pt", weights_only=True))
        towers.append(tower.eval())
    both = export(*towers, side=SIDE)
    return mirrored(both, [0.0] * (len(towers) * network.DIMENSIONS), name="rgbd_siamese")


def main() -> None:
    """Render, train both towers side by side, join them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mesh", type=Path, default=MESH)
    parser.add_argument("--crops", type=Path, required=True, help="folder of rendered crops")
    parser.add_argument("--out", type=Path, required=True, help="folder of the result")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    load_crops(options.crops, options.mesh, workers=2)
    options.out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(len(SEEN), mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(
                train,
                name,
                crops=options.crops,
                mesh=options.mesh,
                steps=options.steps,
                out=options.out,
            )
            for name in SEEN
        ]
        for job in jobs:
            job.result()
    (options.out / "rgbd_siamese.onnx").write_bytes(joined(options.out))


if __name__ == "__main__":
    main()
