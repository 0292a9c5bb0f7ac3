"""Unlocks the screen as GNOME's lock does: unlock.py SERVICE USER PASSWORD, in the user's session.

Through the channel that gdm opens for it. Writes what gdm says, a line for each; ends with 0 once
gdm says that the person is who they claim to be. The password is the answer to each question.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gdm", "1.0")
from gi.repository import Gdm, GLib  # noqa: E402 (a version is chosen first)


def main() -> int:
    service, user, password = sys.argv[1:]
    ended = []
    loop = GLib.MainLoop()

    def told(what: str, *words: str) -> None:
        print(what, *words, flush=True)

    def asked(verifier: Gdm.UserVerifierProxy, of: str, question: str) -> None:
        told("asks", question)
        verifier.call_answer_query_sync(of, password, None)

    def over(_verifier: Gdm.UserVerifierProxy, what: str, *, status: int) -> None:
        told(what)
        ended.append(status)
        loop.quit()

    channel = Gdm.Client.new().open_reauthentication_channel_sync(user, None)
    channel.connect("info", lambda _channel, _service, text: told("says", text))
    channel.connect("problem", lambda _channel, _service, text: told("says", text))
    channel.connect("info-query", asked)
    channel.connect("secret-info-query", asked)
    channel.connect("verification-complete", lambda c, _service: over(c, "let in", status=0))
    channel.connect("verification-failed", lambda c, _service: over(c, "denied", status=1))
    channel.connect("service-unavailable", lambda c, *_: over(c, "no such service", status=2))
    channel.connect("reset", lambda c: over(c, "reset", status=2))
    channel.call_begin_verification_for_user_sync(service, user, None)
    loop.run()
    return ended[0]


if __name__ == "__main__":
    sys.exit(main())
