"""Whatever an image or a video holds, it is frames or a refusal: no crash, no hang, no flood."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.fuzz.decoder import Decoder, Kind
from tests.fuzz.harness import mutate, tries

IMAGE_WORDS = [
    *(b"\xff\xd8", b"\xff\xd9", b"\xff\xc0\x00\x11\x08", b"\xff\xc2", b"\xff\xc4", b"\xff\xda"),
    *(b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0", b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"),
    *(b"\x89PNG\r\n\x1a\n", b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"zTXt"),
    *(b"RIFF", b"WEBP", b"VP8X", b"VP8L", b"VP8 ", b"ANMF", b"ALPH", b"BM", b"P6\n", b"P5\n"),
    *(b"P1\n", b"P3 2 2 255\n", b"65535", b"9999 9999", b"40000 1000", b"GIF89a", b"II*\0"),
    *(b"ftypavif", b"\x76\x2f\x31\x01", b"#?RADIANCE\n", b"\xff\x4f\xff\x51"),
]
VIDEO_WORDS = [
    *(b"ftyp", b"moov", b"mdat", b"trak", b"stbl", b"stsd", b"stts", b"stsz", b"stco", b"co64"),
    *(b"avc1", b"mp4v", b"mjpg", b"hev1", b"vp09", b"av01", b"png ", b"rle ", b"raw ", b"tkhd"),
    *(b"RIFF", b"AVI ", b"LIST", b"hdrl", b"strh", b"strf", b"vids", b"auds", b"movi", b"idx1"),
    *(b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"V_MPEG4/ISO/AVC", b"V_VP8"),
    *(
        b"MJPG",
        b"H264",
        b"XVID",
        b"cvid",
        b"IV50",
        b"tscc",
        b"FFV1",
        b"HFYU",
        b"#EXTM3U\n",
        b"ffconcat",
    ),
]


def picture(width: int, height: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(width * 1000 + height)
    smooth = cv2.resize(rng.integers(0, 256, (4, 4, channels), np.uint8), (width, height))
    return smooth.reshape(height, width, channels)


def images() -> list[bytes]:
    """Small ones of every kind that is read, so that a change hits what matters."""
    found = []
    for suffix, channels, flags in (
        (".jpg", 3, [cv2.IMWRITE_JPEG_QUALITY, 80]),
        (".jpg", 3, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (".jpg", 1, [cv2.IMWRITE_JPEG_RST_INTERVAL, 1]),
        (".png", 3, []),
        (".png", 4, []),
        (".png", 1, [cv2.IMWRITE_PNG_BILEVEL, 1]),
        (".webp", 3, [cv2.IMWRITE_WEBP_QUALITY, 60]),
        (".webp", 4, [cv2.IMWRITE_WEBP_QUALITY, 101]),
        (".bmp", 3, []),
        (".ppm", 3, []),
        (".pgm", 1, [cv2.IMWRITE_PXM_BINARY, 0]),
    ):
        done, data = cv2.imencode(suffix, picture(24, 17, channels), flags)
        assert done
        found.append(data.tobytes())
    done, deep = cv2.imencode(".png", picture(24, 17, 3).astype(np.uint16) * 257)
    assert done
    return [*found, deep.tobytes(), large_png(9999, 4000)]


def large_png(width: int, height: int) -> bytes:
    """As many pixels as are accepted, in a few kilobytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    rows = zlib.compress(bytes((width // 8 + 2) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def videos(folder: Path) -> list[bytes]:
    found = []
    for suffix, codec in ((".avi", "MJPG"), (".avi", "XVID"), (".mp4", "mp4v"), (".mkv", "FFV1")):
        path = folder / f"{codec}{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10.0, (64, 48))
        for shift in range(3):
            writer.write(np.roll(picture(64, 48, 3), 4 * shift, axis=1))
        writer.release()
        if path.exists() and path.stat().st_size:
            found.append(path.read_bytes())
    assert len(found) >= 2
    return found


@pytest.fixture
def decoder(tmp_path: Path) -> Iterator[Decoder]:
    decoder = Decoder(tmp_path / "scratch")
    yield decoder
    decoder.close()


def run(
    decoder: Decoder, kind: Kind, corpus: list[bytes], words: list[bytes], *, count: int
) -> Counter[str]:
    ended: Counter[str] = Counter()
    for sound in corpus:
        assert "fault" not in decoder.decode(sound, kind)
    for chance in tries(f"{kind}s", count=count):
        answer = decoder.decode(mutate(chance, corpus, words), kind)
        assert "fault" not in answer, (chance, answer)
        ended["refused" if "refused" in answer else "frames"] += 1
    return ended


def test_whatever_an_image_holds_it_is_a_frame_or_a_refusal(decoder: Decoder) -> None:
    ended = run(decoder, "image", images(), IMAGE_WORDS, count=2_500)
    assert min(ended["refused"], ended["frames"]) > 0.05 * ended.total()


def test_whatever_a_video_holds_it_is_frames_or_a_refusal(decoder: Decoder, tmp_path: Path) -> None:
    ended = run(decoder, "video", videos(tmp_path), VIDEO_WORDS, count=2_000)
    assert min(ended["refused"], ended["frames"]) > 0.05 * ended.total()
