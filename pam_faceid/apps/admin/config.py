"""`faceid-admin config`: is the file valid, and what does it come to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple, get_args

import click

from pam_faceid.apps.admin.context import Admin, pass_admin
from pam_faceid.apps.admin.looking import warn_of_stand_in
from pam_faceid.apps.admin.output import as_json, facts

if TYPE_CHECKING:
    from pam_faceid.adapters.models.manifest import Manifest
    from pam_faceid.core.attack import AttackRule
    from pam_faceid.core.config import Config
    from pam_faceid.core.matching import RateAt


@click.group()
def config() -> None:
    """Check or show the configuration."""


@config.command()
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def check(admin: Admin, *, json_wanted: bool) -> None:
    """Say whether the configuration is valid and the models that it names are installed."""
    settings, manifest = _load(admin)
    threshold = _operating_point(settings, manifest).threshold
    _presentations(settings, manifest)
    if json_wanted:
        as_json({"file": str(admin.layout.config_file), "valid": True, "threshold": threshold})
        return
    click.echo(f"{admin.layout.config_file}: valid; the match threshold is {threshold:.4f}")
    warn_of_stand_in(settings)
    if settings.attack.mode == "off":
        click.echo('! [attack] mode = "off": a picture of a face may open a login', err=True)


@config.command()
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def show(admin: Admin, *, json_wanted: bool) -> None:
    """Show every value in effect, which of them are defaults, and the false match rate.

    The rate has its 95 % interval, and stands beside what the other matchers would come to.
    """
    import msgspec

    from pam_faceid.core.config import Config, Matcher

    settings, manifest = _load(admin)
    values = msgspec.to_builtins(settings)
    defaults = msgspec.to_builtins(Config())
    point = _operating_point(settings, manifest)
    others = {
        matcher: _operating_point(
            msgspec.structs.replace(
                settings,
                matching=msgspec.structs.replace(settings.matching, matcher=matcher),
            ),
            manifest,
        )
        for matcher in get_args(Matcher)
    }
    if json_wanted:
        as_json(
            {
                "file": str(admin.layout.config_file),
                "values": values,
                "changed": [
                    f"{section}.{key}"
                    for section, keys in values.items()
                    for key, value in keys.items()
                    if value != defaults[section].get(key)
                ],
                "matching": {
                    "threshold": point.threshold,
                    **_described(point.fmr),
                    "matchers": {
                        matcher: {"threshold": other.threshold, **_described(other.fmr)}
                        for matcher, other in others.items()
                    },
                },
            }
        )
        return
    click.echo(f"# {admin.layout.config_file}")
    click.echo("# * marks what differs from the default")
    for section, keys in values.items():
        click.echo(f"[{section}]")
        for key, value in keys.items():
            mark = " " if value == defaults[section].get(key) else "*"
            click.echo(f"{mark} {key} = {_toml(value)}")
    click.echo("")
    facts(
        {
            "match threshold": f"{point.threshold:.4f}, a cosine of {settings.matching.embedder}",
            "false match rate": _rate(point.fmr),
            **_presentations(settings, manifest),
            **{
                f"with {matcher}": f"{other.threshold:.4f}: {_figures(other.fmr)}"
                for matcher, other in others.items()
                if matcher != settings.matching.matcher
            },
        }
    )


def _presentations(settings: Config, manifest: Manifest) -> dict[str, str]:
    """Say what is done about presentation attacks, for each service that has it otherwise.

    Raises:
        ConfigError, ModelError: What is wanted cannot be done.
    """
    from pam_faceid.apps import rules

    def of(service: str) -> str:
        detector = _rule_of(rules.attack_rule(settings, manifest, service=service))
        asks = settings.attack_mode(service) == "challenge"
        return f"two movements are asked for; {detector}" if asks else detector

    usual = of("")
    told = {"attacks": usual}
    for name in settings.services:
        own = of(name)
        if own != usual:
            told[f"attacks, {name}"] = own
    return told


def _rule_of(rule: AttackRule | None) -> str:
    if rule is None:
        return "no detector is asked"
    second = "" if rule.second is None else "; MiniFASNet has to agree"
    return (
        f"at least {rule.threshold:.2f} log-odds that it is bona fide, over the latest "
        f"{rule.frames} frames{second}"
    )


def _load(admin: Admin) -> tuple[Config, Manifest]:
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.adapters.models.manifest import load_manifests

    return load_config(admin.layout), load_manifests(admin.layout)


class _OperatingPoint(NamedTuple):
    """Threshold and false match rate, each told from the other by the calibration.

    Args:
        threshold: Cosine.
        fmr: None when the embedder has no calibration.
    """

    threshold: float
    fmr: RateAt | None


def _operating_point(settings: Config, manifest: Manifest) -> _OperatingPoint:
    from pam_faceid.apps import rules
    from pam_faceid.core.matching import match_threshold, rate_at

    spec = rules.embedder_spec(settings, manifest)
    calibration = spec.calibration_of(settings.matching.matcher)
    threshold = match_threshold(settings.matching, calibration, model=spec.name)
    if calibration is None:
        return _OperatingPoint(threshold, None)
    return _OperatingPoint(threshold, rate_at(threshold, calibration))


def _rate(fmr: RateAt | None) -> str:
    if fmr is None:
        return "unknown: this model was never calibrated"
    return f"{_figures(fmr)}, comparing one image with the template of a stranger"


def _figures(fmr: RateAt | None) -> str:
    """Return rate and interval, and whether either was measured at this very threshold."""
    if fmr is None:
        return "unknown"
    value = f"{fmr.low:.2g}" if fmr.low == fmr.high else f"between {fmr.low:.2g} and {fmr.high:.2g}"
    value += f", 95 % [{fmr.interval_low:.2g}, {fmr.interval_high:.2g}]"
    if fmr.between is None:
        return f"{value}, beyond what was measured"
    left, right = fmr.between
    return value if left == right else f"{value}, interpolated between {left:.2g} and {right:.2g}"


def _described(fmr: RateAt | None) -> dict[str, object]:
    if fmr is None:
        return {"fmr": None, "fmr_interval": None, "measured": None, "interpolated_between": None}
    at_point = fmr.between is not None and fmr.between[0] == fmr.between[1]
    return {
        "fmr": {"low": fmr.low, "high": fmr.high},
        "fmr_interval": {"low": fmr.interval_low, "high": fmr.interval_high},
        "measured": at_point,
        "interpolated_between": None if at_point or fmr.between is None else list(fmr.between),
    }


def _toml(value: object) -> str:
    """Write one value as the file would have it; None is a key that is not set."""
    if value is None:
        return "(not set)"
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}"
    return json.dumps(value)
