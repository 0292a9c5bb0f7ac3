"""Pictures of scores. Only this package draws, and its modules are imported when one is wanted."""

from __future__ import annotations

from enum import Enum


class Picture(str, Enum):
    """Each picture, by the name of its file."""

    HEAT_MAP = "heat-map.png"
    PAIRS = "pairs.png"
    PROBES = "probes.png"
    IDENTIFICATION = "identification.png"
    TRADE_OFF = "trade-off.png"
    COMPONENTS = "components.png"
    NEIGHBOURHOODS = "neighbourhoods.png"
    TIME = "time.png"
