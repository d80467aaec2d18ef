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
    from mnist_seq.cli import escape_unencodable

    with escape_unencodable():
        return _read(asked)


def _read(args: argparse.Namespace) -> int:
    """Print a line a picture; the exit code, 1 where any could not be read."""
    from mnist_seq.errors import UserError
    from mnist_seq.find_runs import resolve_run
    from mnist_seq.inference.reader import load

    try:
        reader = load(resolve_run(args.run), args.device, True if args.trust == "true" else args.trust)
    except UserError as problem:
        return _print_error(problem)
    code = 0
    for picture, reading in zip(args.pictures, reader.stream(args.pictures), strict=True):
        if isinstance(reading, UserError):
            code = _print_error(reading)
            continue
        certainties = " ".join(f"{probability:.2f}" for probability in reading.per_digit)
        print(f"{picture}: {reading}  (confidence {reading.confidence:.2f}; {certainties or '-'})")
    return code


def _print_error(problem: Exception) -> int:
    """Say why in a line; the exit code."""
    print(f"mnist_seq: {' '.join(str(problem).split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
