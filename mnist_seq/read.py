"""Read pictures: `python -m mnist_seq.read photo.png scan.jpg --run outputs/<date>/<time>`."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mnist_seq.read", description="Read the digits in pictures.")
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="an image file of any size")
    parser.add_argument(
        "--run", metavar="PATH", help="run directory, weights, checkpoint or pretrained:NAME (default: the newest run)"
    )
    parser.add_argument(
        "--trust", metavar="MODULE", help="true, or the module of a model from outside the package; its code runs"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: cpu)")
    asked = parser.parse_args(arguments)
    from mnist_seq.command import unencodable_escaped

    with unencodable_escaped():
        return _read(asked)


def _read(asked: argparse.Namespace) -> int:
    """Print a line a picture; the exit code, 1 where any could not be read."""
    from mnist_seq.errors import UserError
    from mnist_seq.run import named
    from mnist_seq.use.reader import load

    try:
        reader = load(named(asked.run), asked.device, True if asked.trust == "true" else asked.trust)
    except UserError as problem:
        return _failed(problem)
    code = 0
    for picture, reading in zip(asked.pictures, reader.stream(asked.pictures), strict=True):
        if isinstance(reading, UserError):
            code = _failed(reading)
            continue
        certainties = " ".join(f"{probability:.2f}" for probability in reading.per_digit)
        print(f"{picture}: {reading}  (confidence {reading.confidence:.2f}; {certainties or '-'})")
    return code


def _failed(problem: Exception) -> int:
    """Say why in a line; the exit code."""
    print(f"mnist_seq: {' '.join(str(problem).split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
