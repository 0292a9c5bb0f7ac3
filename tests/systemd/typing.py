"""Programs that want a terminal, and somebody who types at it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tests.machines import SECONDS, Booted

# In the machine itself: a terminal of another instance of devpts has no name there.
_TYPIST = """
import json, os, pty, select, signal, sys, termios, time
command, answers, last_words, seconds = json.loads(sys.argv[1])
LEFT = os.WEXITED | os.WNOHANG | os.WNOWAIT
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
shown, unread, until, hung_up = "", "", time.monotonic() + seconds, None
while time.monotonic() < until and not any(word in unread for word in last_words):
    if not select.select([terminal], [], [], 0.1)[0]:
        continue
    try:
        said = os.read(terminal, 4096).decode(errors="replace")
        hung_up = None
    except OSError:
        # login of util-linux hangs its terminal up, and opens it again.
        hung_up = hung_up or time.monotonic()
        if time.monotonic() < hung_up + 5 and not os.waitid(os.P_PID, pid, LEFT):
            time.sleep(0.05)
            continue
        said = ""
    if not said:
        break
    shown, unread = shown + said, unread + said
    for prompt, answer in answers:
        if prompt in unread:
            unread = unread.split(prompt, 1)[1]
            # pkttyagent turns echo off after it asked, and throws away what was typed until then.
            calm = time.monotonic() + 5
            while termios.tcgetattr(terminal)[3] & termios.ECHO and time.monotonic() < calm:
                time.sleep(0.02)
            os.write(terminal, (answer + "\\n").encode())
os.close(terminal)
patient = time.monotonic() + 5
while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
    time.sleep(0.1)
    # ssh waits for ever after a hang-up that came while it was not waiting.
    if time.monotonic() > patient:
        os.killpg(pid, signal.SIGHUP)
status = os.waitstatus_to_exitcode(ended[1])
json.dump({"status": status, "shown": shown}, sys.stdout)
"""


@dataclass(frozen=True)
class Typed:
    """How a program at a terminal ended.

    Args:
        status: Its exit status.
        shown: All that stood on the terminal.
    """

    status: int
    shown: str


def type_at(
    machine: Booted,
    command: Sequence[str],
    *answers: tuple[str, str],
    last_words: Sequence[str] = (),
    seconds: float = SECONDS,
) -> Typed:
    """Run a program at a terminal of the machine, and answer each prompt when it is there.

    Args:
        machine: Where.
        command: The program.
        answers: Pairs of what is waited for and the line that is typed then.
        last_words: What ends it: the terminal is hung up.
        seconds: After these as well.
    """
    told = json.dumps([command, answers, last_words, seconds])
    return Typed(**json.loads(machine.run("/usr/bin/python3", "-c", _TYPIST, told).stdout))
