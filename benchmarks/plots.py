"""The pictures of a data set, drawn by what draws `faceid-admin report`; see docs/report.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.extraction import Sample
from benchmarks.lfw import person
from pam_faceid.adapters.pictures import Picture
from pam_faceid.adapters.pictures.heat_map import heat_map
from pam_faceid.adapters.pictures.projections import components_map, neighbourhood_map
from pam_faceid.adapters.pictures.rates import histogram, trade_off_curve
from pam_faceid.core import sample_set
from pam_faceid.core.error_rates import Comparisons
from pam_faceid.core.projection import (
    LEAST_FOR_COMPONENTS,
    LEAST_FOR_TSNE,
    principal_components,
    tsne,
)
from pam_faceid.core.sample_set import SampleSet
from pam_faceid.core.trade_off import lacking, trade_off

MAPPED: Final = 10  # people in the heat map: those with most images
MAPPED_EACH: Final = 10  # images of each, the first by name
PROJECTED_FROM: Final = 5  # images that a person must have to be projected
PROJECTED_EACH: Final = 5  # of each, so that t-SNE stays exact and quick


def draw(
    samples: Mapping[str, Sample],
    comparisons: Comparisons,
    *,
    threshold: float,
    replicates: int,
    seed: int,
) -> dict[str, bytes]:
    """Return every picture that there are images enough for, by the name of its file.

    Args:
        samples: By image; those without a vector are left out.
        comparisons: What the histogram and the trade-off are of.
        threshold: Match threshold, cosine, drawn into each.
        replicates, seed: Of the bootstrap over people.
    """
    pictures = {
        Picture.PAIRS: histogram(
            comparisons.genuine,
            comparisons.impostor,
            threshold=threshold,
            title="One image against one",
            what="two images",
        )
    }
    if not lacking(
        genuine=len(comparisons.genuine),
        impostor=len(comparisons.impostor),
        people=comparisons.people,
    ):
        curve = trade_off(comparisons, threshold=threshold, replicates=replicates, seed=seed)
        pictures[Picture.TRADE_OFF] = trade_off_curve(curve)
    by_person = _by_person(samples)
    most = sorted(by_person, key=lambda name: (-len(by_person[name]), name))[:MAPPED]
    pictures[Picture.HEAT_MAP] = heat_map(
        _set({name: by_person[name][:MAPPED_EACH] for name in most}), threshold=threshold
    )
    projected = _set(
        {
            name: images[:PROJECTED_EACH]
            for name, images in by_person.items()
            if len(images) >= PROJECTED_FROM
        }
    )
    if len(projected) >= LEAST_FOR_COMPONENTS:
        components = principal_components(projected.vectors)
        pictures[Picture.COMPONENTS] = components_map(projected, components)
    if len(projected) >= LEAST_FOR_TSNE:
        pictures[Picture.NEIGHBOURHOODS] = neighbourhood_map(projected, tsne(projected.vectors))
    return {picture.value: png for picture, png in pictures.items()}


def write(folder: Path, pictures: Mapping[str, bytes]) -> None:
    """Write the pictures, over those of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, png in pictures.items():
        (folder / name).write_bytes(png)


def _by_person(samples: Mapping[str, Sample]) -> dict[str, list[sample_set.Sample]]:
    found: dict[str, list[sample_set.Sample]] = defaultdict(list)
    for image, sample in sorted(samples.items()):
        if sample.vector is not None:
            name = person(image)
            label = image.rpartition("/")[2]
            vector = np.asarray(sample.vector)
            found[name].append(sample_set.Sample(name, label, is_probe=False, vector=vector))
    return found


def _set(by_person: Mapping[str, list[sample_set.Sample]]) -> SampleSet:
    return SampleSet((s for each in by_person.values() for s in each), people=list(by_person))
