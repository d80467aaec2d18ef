"""Malformed and hostile uploads, deterministic for a seed."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator

from PIL import Image, PngImagePlugin

NUM_UPLOADS = 540
KINDS = ("png", "jpeg", "webp")


def uploads(seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield the name and bytes of `NUM_UPLOADS` uploads."""
    yield from _SPECIMENS.items()
    rng = random.Random(seed)
    intact = {kind: _saved(_noise(40, 30), kind) for kind in KINDS}
    for index in range(NUM_UPLOADS - len(_SPECIMENS)):
        kind = KINDS[index % len(KINDS)]
        name, damage = list(_DAMAGES.items())[index // len(KINDS) % len(_DAMAGES)]
        yield f"{kind} {name} {index}", damage(intact[kind], rng)


def _truncated(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _header(data: bytes, rng: random.Random) -> bytes:
    return _flipped(data, rng, 1 + rng.randrange(6), 64)


def _body(data: bytes, rng: random.Random) -> bytes:
    return _flipped(data, rng, 1 + rng.randrange(40), len(data))


def _shuffled(data: bytes, rng: random.Random) -> bytes:
    cut = sorted(rng.sample(range(len(data)), 3))
    return data[: cut[0]] + data[cut[1] : cut[2]] + data[cut[0] : cut[1]] + data[cut[2] :]


def _repeated(data: bytes, rng: random.Random) -> bytes:
    cut = rng.randrange(len(data))
    return data[:cut] + data[cut // 2 : cut] * rng.randrange(1, 30) + data[cut:]


def _noised(data: bytes, rng: random.Random) -> bytes:
    return data[:16] + rng.randbytes(rng.randrange(2000))


_DAMAGES = {
    "truncated": _truncated,
    "with another header": _header,
    "with another body": _body,
    "shuffled": _shuffled,
    "repeated": _repeated,
    "of noise": _noised,
}


def _flipped(data: bytes, rng: random.Random, times: int, within: int) -> bytes:
    changed = bytearray(data)
    for _ in range(times):
        changed[rng.randrange(min(within, len(data)))] = rng.randrange(256)
    return bytes(changed)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _noise(width: int, height: int) -> Image.Image:
    return Image.frombytes("L", (width, height), random.Random(0).randbytes(width * height))


def _png(width: int, height: int, depth: int, colour: int, data: bytes, *before: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *before, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _zeros(number: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(min(2**20, number - at))) for at in range(0, number, 2**20)) + packer.flush()


def _texts() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for index in range(50):
        info.add_text(f"note {index}", "7" * 900_000, zip=True)
    return info


_SPECIMENS = {
    "nothing": b"",
    "one byte": b"\x89",
    "text": b"seven",
    "a page": b"<html><script>alert(7)</script></html>",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><text>7</text></svg>',
    "PDF": b"%PDF-1.7\n1 0 obj <<>> endobj\n%%EOF",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
    "zip": b"PK\x03\x04" + bytes(100),
    "a pickle": b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "GIF": _saved(_noise(20, 20), "gif"),
    "BMP": _saved(_noise(20, 20), "bmp"),
    "TIFF": _saved(_noise(20, 20), "tiff"),
    "a single pixel": _saved(_noise(1, 1), "png"),
    "a wide line": _saved(Image.new("L", (20_000, 1), 9), "png"),
    "a tall line": _saved(Image.new("L", (1, 20_000), 9), "png"),
    "a wide line of noise": _saved(_noise(20_000, 1), "png"),
    "16 bits": _saved(Image.new("I;16", (60, 60), 40_000), "png"),
    "1 bit": _saved(Image.new("1", (60, 60)), "png"),
    "a palette": _saved(_noise(60, 60).convert("RGB").quantize(7), "png", transparency=3),
    "CMYK": _saved(_noise(60, 60).convert("CMYK"), "jpeg"),
    "YCbCr": _saved(_noise(60, 60).convert("YCbCr"), "jpeg", progressive=True),
    "transparent": _saved(Image.new("RGBA", (60, 60), (0, 0, 0, 0)), "webp"),
    "an animation": _saved(_noise(20, 20), "webp", save_all=True, append_images=[_noise(20, 20).rotate(90)]),
    "an animated PNG": _saved(_noise(20, 20), "png", save_all=True, append_images=[_noise(20, 20).rotate(90)]),
    "no pixels": _png(0, 0, 8, 0, _zeros(1)),
    "a bomb of 25 gigapixels": _png(160_000, 160_000, 1, 0, _zeros(1000)),
    "a bomb of 900 megapixels": _png(30_000, 30_000, 1, 0, _zeros(30_000 * 3751)),
    "a bomb just above what is read": _png(5001, 5000, 8, 0, _zeros(5002 * 5000)),
    "as much as is read": _png(5000, 5000, 8, 0, _zeros(5001 * 5000)),
    "fewer pixels than it says": _png(4000, 4000, 8, 6, _zeros(100)),
    "more pixels than it says": _png(4, 4, 8, 6, _zeros(50_000_000)),
    "the largest WebP": _saved(Image.new("1", (16_383, 16_383)), "webp", lossless=True, method=0),
    "a JPEG that says it is huge": b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00\xff\xd9",
    "50 notes of a megabyte": _saved(_noise(20, 20), "png", pnginfo=_texts()),
    "a profile that is none": _png(9, 9, 8, 0, _zeros(90), (b"iCCP", b"x\0\0" + _zeros(30_000_000))),
    "an orientation that is none": _saved(_noise(20, 20), "jpeg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03"),
}
