"""Train the attack detector: from the development data to the weights, in one command.

    python -m venv training && training/bin/pip install -r onnx_models/training/requirements.txt
    training/bin/python onnx_models/training/attacks/train.py --data ../shared/data --work work

It makes the samples and trains a base without NUAA. From that base it goes on with NUAA: once
without each pair of its people, to be measured on them, and once with all of them. Each of these
then gets a second look (surroundings.py), fitted without NUAA; the last is shipped.
`--steps 60 --size 0.1` is a dry run. The folder of work holds crops of faces: it must not
be given on.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from export import exported
from fitting import Schedule, fit
from network import STRIDES, AttackNet
from numpy.typing import NDArray
from samples import LIVE, REAL_PRINT, SIDE, Order, make, ordered
from sources import Picture, first_of_each, pictures
from surroundings import joined, look

SEED: Final = 1
STEPS: Final = 14000
SIZE: Final = 6.0
RATE: Final = 4e-3
TUNING: Final = 0.35  # of the base's steps
TUNING_RATE: Final = 2e-3
NUAA_SHARE: Final = 0.5  # of what a tuned network is shown
RAW_SHARE: Final = 0.2  # of the live faces of other sources
BASE: Final = "without NUAA"
TOWERS: Final = "towers"
SHIPPED: Final = "attack_detector.onnx"
EVERYBODY: Final = ("0001", "0002", "0003", "0005", "0008", "0009")
LEFT_OUT: Final = {
    BASE: EVERYBODY,
    "without NUAA 0001 0002": EVERYBODY[:2],
    "without NUAA 0003 0005": EVERYBODY[2:4],
    "without NUAA 0008 0009": EVERYBODY[4:],
    TOWERS: (),
}


def main() -> None:
    """Train everything, and write weights and log."""
    options = _parser().parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    options.work.mkdir(parents=True, exist_ok=True)
    found = first_of_each(pictures(options.data, options.work / "faces.npz"))
    trained_on = [one for one in found if not one.held_out]
    orders = ordered(trained_on, seed=SEED, size=options.size)
    squares = _samples(trained_on, orders, options)
    with (options.work / "training.log").open("a", encoding="utf-8") as file:

        def log(line: str) -> None:
            print(line, flush=True)
            print(line, file=file, flush=True)

        log(
            f"seed {SEED}, {options.steps} steps, torch {torch.__version__}, numpy {np.__version__}"
        )
        log(f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}")
        log(f"samples: {len(orders)}, sha256 {hashlib.sha256(squares).hexdigest()}")
        for name in options.only or LEFT_OUT:
            _train(name, trained_on, orders, squares, options, log)
        second = look(options.data, options.work, options.processes, log, size=options.size / 3)
        for name in options.only or LEFT_OUT:
            path = options.work / f"{name.replace(' ', '_')}.onnx"
            model = joined(path.read_bytes(), second, log)
            both = options.work / (SHIPPED if name == TOWERS else f"both_{path.name}")
            both.write_bytes(model)
            log(f"{name}: {both.name}, sha256 {hashlib.sha256(model).hexdigest()}")


def _train(  # noqa: PLR0917 (what a run is made of)
    name: str,
    trained_on: Sequence[Picture],
    orders: Sequence[Order],
    squares: NDArray[np.uint8],
    options: argparse.Namespace,
    log: Callable[[str], None],
) -> None:
    live = np.array([order.species == LIVE for order in orders])
    nuaa = np.array([trained_on[order.picture].source == "nuaa" for order in orders])
    who = np.array([trained_on[order.picture].person for order in orders])
    unseen = nuaa & np.isin(who, LEFT_OUT[name])
    began = time.process_time()
    torch.manual_seed(SEED)
    net = AttackNet().to(memory_format=torch.channels_last)
    schedule = Schedule(options.steps, RATE, SEED)
    raw = np.array([order.raw for order in orders])
    weights = _weights(live, raw, nuaa, unseen)
    base = options.work / "base.pt"
    if name != BASE:
        net.load_state_dict(torch.load(base))
        schedule = Schedule(round(options.steps * TUNING), TUNING_RATE, SEED + 1)
    net = fit(net, squares, live, weights, schedule, lambda line: log(f"{name}: {line}"))
    if name == BASE:
        torch.save(net.state_dict(), base)
    state = {key: value.numpy().astype(np.float64) for key, value in net.state_dict().items()}
    model = exported(state, side=SIDE, strides=STRIDES)
    path = options.work / f"{name.replace(' ', '_')}.onnx"
    path.write_bytes(model)
    log(f"{name}: {path.name}, sha256 {hashlib.sha256(model).hexdigest()}")
    log(f"{name}: {time.process_time() - began:.0f} s of processor time")
    if unseen.any():
        shown = [trained_on[order.picture] for order in orders]
        real = np.array([order.species in (LIVE, REAL_PRINT) for order in orders])
        said = _measure(name, net, squares, shown, unseen & raw & real, options)
        log(f"{name}: {json.dumps(said)}")


def _weights(
    live: NDArray[np.bool_],
    raw: NDArray[np.bool_],
    nuaa: NDArray[np.bool_],
    unseen: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Draw as many live faces as attacks, few raw ones, and NUAA by its share, of what may be seen.

    No drawn attack is raw. Were many live faces so, "raw" would be learnt for "live".
    """
    weights = np.zeros(len(live))
    share = NUAA_SHARE if (nuaa & ~unseen).any() else 0.0
    for own, part in ((nuaa, share), (~nuaa, 1 - share)):
        # NUAA's prints are raw, so its live frames may be.
        raw_part = 0.5 if own is nuaa else RAW_SHARE
        for chosen, mass in (
            (live & raw, raw_part),
            (live & ~raw, 1 - raw_part),
            (~live & raw, 0.5 if own is nuaa else 0.0),
            (~live & ~raw, 0.5 if own is nuaa else 1.0),
        ):
            kept = chosen & own & ~unseen
            if kept.any():
                weights[kept] = part * mass / kept.sum()
    return weights


def _measure(  # noqa: PLR0917 (what a run is made of)
    name: str,
    net: AttackNet,
    squares: NDArray[np.uint8],
    pictures_of: Sequence[Picture],
    unseen: NDArray[np.bool_],
    options: argparse.Namespace,
) -> dict[str, float]:
    """Write the score of each real frame that was not seen, and return what they say.

    Args:
        pictures_of: The picture of each sample.
    """
    scores = []
    index = np.flatnonzero(unseen)
    with torch.no_grad():
        for start in range(0, len(index), 100):
            part = torch.from_numpy(squares[index[start : start + 100]].astype(np.float32))
            wide, near = part.permute(1, 0, 4, 2, 3)
            scores.append(net(wide, near)[:, 0].numpy())
    found = np.concatenate(scores).astype(float)
    shown = [pictures_of[sample] for sample in index]
    with (options.work / f"{name.replace(' ', '_')}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["live", "person", "picture", "score"])
        for one, score in zip(shown, found, strict=True):
            writer.writerow([int(one.live), one.person, Path(one.path).stem, f"{score:.4f}"])
    live = np.array([one.live for one in shown])
    good, bad = found[live], found[~live]
    above = (good[:, None] > bad[None]).mean() + 0.5 * (good[:, None] == bad[None]).mean()
    return {"frames": len(found), "auc": round(float(above), 5)}


def _samples(
    trained_on: Sequence[Picture], orders: Sequence[Order], options: argparse.Namespace
) -> NDArray[np.uint8]:
    path = options.work / f"samples-{SEED}-{options.size:g}.npy"
    if not path.exists():
        made = make(trained_on, orders, options.data, seed=SEED, processes=options.processes)
        partial = path.with_suffix(".partial.npy")
        np.save(partial, made)
        partial.replace(path)
    loaded: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return loaded


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of development data")
    parser.add_argument("--work", type=Path, required=True, help="folder for samples and results")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--size", type=float, default=SIZE, help="share of the samples to make")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", action="append", choices=LEFT_OUT)
    return parser


if __name__ == "__main__":
    main()
