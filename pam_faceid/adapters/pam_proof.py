"""Prove what a service file would do before it is one.

Two ways, both through real libpam and on copies. First a model of the stack, its includes with it,
in which each module is a stand-in: whatever the face says but yes, the password alone must decide,
as it did without us. Then the stack itself with its own modules: a wrong password must be refused,
and must have been asked for where it was before.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import product
from typing import Final

from pam_faceid.adapters import pam_stack
from pam_faceid.adapters.pam_model import MATCH, NO_MATCH, Password, Situation, model
from pam_faceid.adapters.pam_services import PamServices
from pam_faceid.adapters.pam_trial import Answer, UntriedError, authenticate, scratch, write
from pam_faceid.core.errors import PamStackError

SCRATCH_SERVICE: Final = "pam_faceid-proof"
_BASELINE: Final = "pam_faceid-baseline"
_NONE: Final = "none"  # the rules as they are without us
_NO_FACE: Final = "authinfo_unavail"
# What a service has no rule for is answered by this one.
_OTHER: Final = {"other": "auth required pam_deny.so\n"}
_DEBUG_MODULE: Final = "pam_debug.so"


def prove(services: PamServices, service: str, text: str) -> list[str]:
    """Return what was shown of a service's new text, a sentence each.

    Raises:
        PamStackError: It does not do what it must, or that cannot be shown.
    """
    _require_stand_in(services)
    shown = [_prove_ways(services, service, {service: text})]
    for other in services.including(service):
        with suppress(_NoPasswordError):  # pam_rootok alone, such as chpasswd
            _prove_ways(services, other, {service: text})
            shown.append(f"the same for {other}, which includes {service}")
    if services.is_running_system:
        shown.append(_prove_modules(services, service, text))
    return shown


def prove_removal(services: PamServices, service: str, old: str, new: str) -> list[str]:
    """Return what was shown of a service's text without the face.

    Raises:
        PamStackError: It lets in or locks out where the old one did not.
        UntriedError: It cannot be tried on this machine.
    """
    _require_stand_in(services)
    cases = {
        f"{name}-{password.name}".lower(): (Situation(_NO_FACE, password, open_gates=False), text)
        for password, (name, text) in product(Password, (("old", old), ("new", new)))
    }
    with scratch() as folder:
        for name, (situation, text) in cases.items():
            load = services.text_of
            write(folder, model(text, service, situation, load=load, folder=folder, prefix=name))
        write(folder, _OTHER)
        answers = dict(zip(cases, authenticate(folder, list(cases)), strict=True))
    for password in Password:
        before, after = (answers[f"{which}-{password.name}".lower()] for which in ("old", "new"))
        if before.lets_in != after.lets_in:
            raise PamStackError(
                f"{service}: without the face, the {password.name.lower()} password would"
                f" {'let in' if after.lets_in else 'be refused'}",
                hint="a jump leads elsewhere then: edit the file by hand",
            )
    return ["without the face the password decides as it does now"]


def _require_stand_in(services: PamServices) -> None:
    if not services.has_module(_DEBUG_MODULE):
        raise UntriedError(
            f"no change can be proven: this machine has no {_DEBUG_MODULE}",
            hint="apt install --reinstall libpam-modules",
        )


class _NoPasswordError(PamStackError):
    """The rules let nobody in for a password, without the face either."""


def _prove_ways(services: PamServices, service: str, changed: Mapping[str, str]) -> str:
    """Walk the model of a service in every situation.

    Args:
        services: Of the machine.
        service: Whose rules.
        changed: New texts, by service.
    """

    def with_face(name: str) -> str | None:
        own = name.rpartition("/")[2]
        return changed[own] if own in changed else services.text_of(name)

    def without_face(name: str) -> str | None:
        text = with_face(name)
        return None if text is None else pam_stack.remove(text, name)

    text = with_face(service) or ""
    has_face = any(
        entry.is_ours for entry in pam_stack.flatten(pam_stack.parse(text, service), with_face)
    )
    cases: dict[str, Situation] = {}
    for password, gates in product(Password, (False, True)):
        for face in (_NONE, *((*NO_MATCH, MATCH) if has_face else ())):
            cases[_case(face, password, gates=gates)] = Situation(face, password, gates)
    with scratch() as folder:
        for name, situation in cases.items():
            load = without_face if situation.face == _NONE else with_face
            stack = load(service) or ""
            write(folder, model(stack, service, situation, load=load, folder=folder, prefix=name))
        write(folder, _OTHER)
        answers = dict(zip(cases, authenticate(folder, list(cases)), strict=True))
    _judge_password(service, answers)
    if not has_face:
        return "the right password lets in and a wrong one does not"
    _judge_face(service, cases, answers)
    return (
        f"in {len(cases)} ways through the rules, whatever the face says but yes, the right"
        " password lets in and a wrong one does not"
    )


def _case(face: str, password: Password, *, gates: bool) -> str:
    return f"{face}-{password.name}-{'open' if gates else 'shut'}".lower()


def _judge_password(service: str, answers: Mapping[str, Answer]) -> None:
    if not answers[_case(_NONE, Password.RIGHT, gates=False)].lets_in:
        raise _NoPasswordError(
            f"{service}: it cannot be shown that the right password lets in",
            hint="its rules are not those of a login with a password; see pam_faceid(8)",
        )
    if answers[_case(_NONE, Password.WRONG, gates=False)].lets_in:
        raise PamStackError(
            f"{service}: a wrong password lets in, with or without the face",
            hint="look for pam_permit or a jump past pam_deny in its rules",
        )


def _judge_face(
    service: str, cases: Mapping[str, Situation], answers: Mapping[str, Answer]
) -> None:
    for name, situation in cases.items():
        if situation.face == _NONE:
            continue
        base = answers[_case(_NONE, situation.password, gates=situation.open_gates)]
        lets_in = answers[name].lets_in
        if situation.face == MATCH:
            if not lets_in:
                raise PamStackError(
                    f"{service}: a matching face would let nobody in",
                    hint="a rule before it refuses, or its control is wrong; see pam_faceid(8)",
                )
        elif lets_in != base.lets_in:
            typed = "right" if situation.password is Password.RIGHT else "wrong"
            raise PamStackError(
                f"{service}: with a face that ends in {situation.face}, the {typed} password"
                f" {'lets in' if lets_in else 'locks out'}",
                hint="a jump leads to the wrong line, or the control is not `sufficient`",
            )


def _prove_modules(services: PamServices, service: str, text: str) -> str:
    without = pam_stack.remove(text, service)
    files = {SCRATCH_SERVICE: text, _BASELINE: without, "other": services.text_of("other") or ""}
    with scratch() as folder:
        write(folder, files)
        # A process each: a module that crashes must be told from one that does not.
        (new,) = authenticate(folder, [SCRATCH_SERVICE])
        (base,) = authenticate(folder, [_BASELINE])
    if new.lets_in:
        raise PamStackError(
            f"{service}: a wrong password was let in by its own modules",
            hint="look for pam_permit or a jump past pam_deny in its rules",
        )
    if base.asked and not new.asked:
        raise PamStackError(
            f"{service}: the password is not asked for any more (libpam's code {new.code})",
            hint="run it again with --debug, and look at journalctl for the module that fails",
        )
    asked = "asked for a password and refused" if new.asked else "refused"
    return f"its own modules {asked} a wrong one"
