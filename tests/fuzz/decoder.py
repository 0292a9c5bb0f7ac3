"""The process that decodes hostile images: a child with limits, asked one file after another.

Run as a program it reads `KIND LENGTH\n` and so many bytes, decodes them as a recording's file, and
answers `{"frames": N}`, `{"refused": MESSAGE}` or `{"fault": ...}`, one line each.
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

Kind = Literal["image", "video"]

MEMORY_BYTES = 1 << 30  # of data; a quarter of what the observer may have
HANG_SECONDS = 60.0
MOST_FRAMES = 40  # an attempt's worth: a video of a million frames is no hang


class Decoder:
    """The child; a new one is started when it died.

    Args:
        scratch: Where the file lies that it decodes.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._child: subprocess.Popen[bytes] | None = None

    def decode(self, data: bytes, kind: Kind) -> dict[str, object]:
        """Return what the child says of a file; `{"fault": ...}` when it died or hung."""
        child = self._child if self._child is not None else self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        self._scratch.write_bytes(data)
        child.stdin.write(f"{kind}\n".encode())
        child.stdin.flush()
        ready, _, _ = select.select([child.stdout], [], [], HANG_SECONDS)
        if not ready:
            self.close()
            return {"fault": "hung"}
        line = child.stdout.readline()
        if not line:
            status = child.wait(HANG_SECONDS)
            self.close()
            return {"fault": f"died with {status}"}
        answer: dict[str, object] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _start(self) -> subprocess.Popen[bytes]:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.decoder", str(self._scratch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
        )
        return self._child


def main(scratch: Path) -> None:
    """Answer until the parent hangs up."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import cv2

    cv2.setNumThreads(1)
    for line in sys.stdin:
        kind: Kind = "video" if line.strip() == "video" else "image"
        print(json.dumps(decoded(scratch, kind)), file=answers, flush=True)


def decoded(scratch: Path, kind: Kind) -> dict[str, object]:
    """Decode one file in the way of a recording."""
    from pam_faceid.adapters.cameras.images import LONGER_SIDE_PX
    from pam_faceid.adapters.cameras.recording import OpenFile, Recording
    from pam_faceid.core.errors import CameraError

    descriptor = os.open(scratch, os.O_RDONLY)
    source = Recording(
        [OpenFile(name="FILE", fd=descriptor, kind=kind)], loop=False, frames_per_second=None
    )
    started = time.monotonic()
    frames = 0
    try:
        for frame in source.frames():
            height, width, channels = frame.pixels.shape
            if (
                channels != 3
                or str(frame.pixels.dtype) != "uint8"
                or max(height, width) > LONGER_SIDE_PX
            ):
                return {"fault": f"a frame of {frame.pixels.shape} {frame.pixels.dtype}"}
            frames += 1
            if frames == MOST_FRAMES:
                break
    except CameraError as error:
        return {"refused": error.message, "frames": frames}
    except MemoryError as error:
        return {"fault": f"out of memory: {error}"}
    except Exception as error:
        return {"fault": f"{type(error).__name__}: {error}"}
    finally:
        source.close()
    return {"frames": frames, "seconds": time.monotonic() - started}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
