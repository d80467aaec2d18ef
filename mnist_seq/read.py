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
    from mnist_seq.errors import UserError
    from mnist_seq.run import named
    from mnist_seq.use.reader import load

    try:
        trust = True if asked.trust == "true" else asked.trust
        readings = load(named(asked.run), asked.device, trust).read(asked.pictures)
    except UserError as problem:
        print(f"mnist_seq: {' '.join(str(problem).split())}", file=sys.stderr)
        return 1
    for picture, reading in zip(asked.pictures, readings, strict=True):
        certainties = " ".join(f"{probability:.2f}" for probability in reading.per_digit)
        print(f"{picture}: {reading}  (confidence {reading.confidence:.2f}; {certainties or '-'})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
