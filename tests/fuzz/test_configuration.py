"""Whatever lies in the configuration file, it is a valid `Config` or a `ConfigError`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pam_faceid.adapters.configuration import load_config
from pam_faceid.core.config import Config, parse_config, refusing_frames, target_fmr
from pam_faceid.core.errors import ConfigError
from pam_faceid.layout import Layout
from tests.fuzz.harness import EXAMPLES, SECONDS

fuzzed = settings(
    deadline=None,
    max_examples=EXAMPLES,
    derandomize=not SECONDS,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SECTIONS = [*Config.__struct_fields__, "other"]
KEYS = sorted(
    {key for name in SECTIONS[:-2] for key in getattr(Config(), name).__struct_fields__} | {"other"}
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
tables = st.dictionaries(
    st.sampled_from(KEYS),
    scalars | st.lists(scalars, max_size=4) | st.dictionaries(st.text(max_size=5), scalars),
    max_size=4,
)
mappings = st.dictionaries(st.sampled_from(SECTIONS), tables | scalars, max_size=4)
words = st.sampled_from(
    [*SECTIONS, *KEYS, *"[]=\"'\n.,{}#-", "nan", "inf", "1e5", "0x", "1979-05-27", "07:32", "true"]
) | st.sampled_from([" ", "9" * 5000, "\\u", "\0", "\ufeff"])


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.config_dir.mkdir(parents=True, mode=0o755)
    return layout


def loaded(layout: Layout, content: bytes) -> Config | None:
    layout.config_file.write_bytes(content)
    layout.config_file.chmod(0o644)
    try:
        return load_config(layout)
    except ConfigError as error:
        refusal = error
    assert str(layout.config_file) in refusal.message
    assert refusal.hint
    return None


@fuzzed
@given(content=st.binary(max_size=300))
def test_arbitrary_bytes_are_a_configuration_or_an_error(layout: Layout, content: bytes) -> None:
    loaded(layout, content)


@fuzzed
@given(content=st.lists(words, max_size=30).map("".join))
@example(content="services." * 1000 + "x=1")
@example(content="[services." + "a." * 50_000 + "a]")
@example(content="x = " + "{x=" * 5000)
def test_text_that_looks_like_toml_is_a_configuration_or_an_error(
    layout: Layout, content: str
) -> None:
    loaded(layout, content.encode())


@fuzzed
@given(mapping=mappings)
def test_every_configuration_that_is_accepted_is_safe(mapping: dict[str, object]) -> None:
    try:
        config = parse_config(mapping, origin="FILE")
    except ConfigError:
        return
    rate = target_fmr(config.matching)
    if rate is None:
        assert config.matching.threshold is not None
        assert 0 < config.matching.threshold < 1
    else:
        assert 0 < rate <= 0.01
    assert 1 <= config.matching.agreeing_frames <= refusing_frames(config.matching)
    for section in (config.camera, config.quality, config.attempt, config.enrolment):
        for key in section.__struct_fields__:
            value = getattr(section, key)
            assert not isinstance(value, float) or math.isfinite(value)
