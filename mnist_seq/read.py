"""Read images: `python -m mnist_seq.read photo.png scan.jpg`, or with `--run outputs/<date>/<time>`."""

from __future__ import annotations

import argparse
import sys

from mnist_seq.cpu_cores import respect_quota


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mnist_seq.read", description="Read the digits in images.")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image file of any size")
    parser.add_argument(
        "--run",
        metavar="PATH",
        help="run directory, weights, checkpoint, pretrained:NAME, or latest for the newest run "
        "(default: pretrained:line)",
    )
    parser.add_argument(
        "--trust", metavar="MODULE", help="allow code from outside the package: true, or the module of a custom model"
    )
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda", "mps"), help="(default: cpu)")
    args = parser.parse_args(arguments)
    respect_quota()
    from mnist_seq.cli import escape_unencodable

    with escape_unencodable():
        return _read(args)


def _read(args: argparse.Namespace) -> int:
    """Print a line per image; return the exit code, 1 if any image could not be read."""
    from mnist_seq.errors import UserError
    from mnist_seq.find_runs import resolve_run
    from mnist_seq.inference.device import resolve_device
    from mnist_seq.inference.pretrained import DEFAULT_MODEL
    from mnist_seq.inference.reader import load

    try:
        trust = True if args.trust == "true" else args.trust
        reader = load(resolve_run(args.run or DEFAULT_MODEL), resolve_device(args.device), trust)
    except UserError as error:
        return _print_error(error)
    if args.run is None:
        print(f"model: {DEFAULT_MODEL} (--run latest means your newest run)", file=sys.stderr)
    exit_code = 0
    for path, reading in zip(args.images, reader.stream(args.images), strict=True):
        if isinstance(reading, UserError):
            exit_code = _print_error(reading)
            continue
        per_digit = " ".join(f"{probability:.2f}" for probability in reading.per_digit)
        warning = f"; {reading.warning}" if reading.warning else ""
        print(f"{path}: {reading}  (confidence {reading.confidence:.2f}; {per_digit or '-'}{warning})")
    return exit_code


def _print_error(error: Exception) -> int:
    """Print an error in one line; return the exit code."""
    print(f"mnist_seq: {' '.join(str(error).split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
