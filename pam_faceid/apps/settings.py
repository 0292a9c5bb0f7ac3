"""What the sysadmin set, as read at one moment."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from pam_faceid.adapters.configuration import load_config

if TYPE_CHECKING:
    from pam_faceid.adapters.models.manifest import Manifest
    from pam_faceid.core.adaptation import AdaptationRule
    from pam_faceid.core.matching import How
    from pam_faceid.core.policy import DecisionRule
    from pam_faceid.layout import Layout


class Settings:
    """The configuration, and the models that are there.

    Args:
        layout: Where both are.

    Raises:
        ConfigError: The configuration is missing or not valid.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.config = load_config(layout)

    @cached_property
    def manifest(self) -> Manifest:
        """Read when it is first wanted: a refusal needs no model. Raises ModelError."""
        from pam_faceid.adapters.models.manifest import load_manifests

        return load_manifests(self._layout)

    @cached_property
    def rule(self) -> DecisionRule:
        """When the evidence is enough. Raises ModelError, ConfigError."""
        from pam_faceid.apps import rules

        return rules.decision_rule(self.config, self.manifest)

    def rule_for(self, service: str) -> DecisionRule:
        """When it is enough in a PAM service, presentation included. Raises as `rule`."""
        from dataclasses import replace

        from pam_faceid.apps import rules

        attack = rules.attack_rule(self.config, self.manifest, service=service)
        return replace(self.rule, attack=attack)

    @cached_property
    def adaptation(self) -> AdaptationRule | None:
        """What templates may gain by being used; None: nothing. Raises ModelError, ConfigError."""
        from pam_faceid.apps import rules

        return rules.adaptation_rule(self.config, self.manifest, self.rule)

    @cached_property
    def matcher(self) -> How:
        """How a probe is compared. Raises ModelError, ConfigError."""
        from pam_faceid.apps import rules

        return rules.matcher_for(self.config, self.manifest)
