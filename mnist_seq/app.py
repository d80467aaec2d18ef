"""A page to play with: `python -m mnist_seq.app`, then draw, upload, photograph, or look at unseen scenes."""

from __future__ import annotations

import argparse
import contextlib
import errno
import socket
import sys
from pathlib import Path

from mnist_seq.errors import UserError
from mnist_seq.extras import check_extra

TRUST = "true, or the module of a model from outside the package; its code runs"
UPLOAD = 10
"""Largest file that the page takes, megabytes."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mnist_seq.app", description="A page on which readers read.")
    parser.add_argument("--port", type=int, default=8501, help="where the page is served (default: 8501)")
    parser.add_argument("--host", default="127.0.0.1", help="whom it is served to (default: 127.0.0.1, this machine)")
    parser.add_argument(
        "--run", metavar="PATH", help="run directory, weights, checkpoint or pretrained:NAME to play with"
    )
    parser.add_argument("--trust", metavar="MODULE", help=TRUST)
    asked = parser.parse_args(arguments)
    try:
        check_extra("app", "app")
        _require_free(asked.host, asked.port)
    except UserError as problem:
        print(f"mnist_seq: {problem}", file=sys.stderr)
        return 1
    return _serve(asked.host, asked.port, {"--run": asked.run, "--trust": asked.trust})


def _require_free(host: str, port: int) -> None:
    """Refuse an address that cannot be served at, before anything heavy is imported."""
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port} must lie in 1..65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port just left is free
            door.bind(address)
    except OSError as problem:
        if problem.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} of {host} is taken: choose another with --port") from problem
        raise UserError(f"nothing can be served at {host}:{port}: {problem.strerror}") from problem


def _serve(host: str, port: int, told: dict[str, str | None]) -> int:
    """Until Ctrl-C."""
    from streamlit.web import cli

    options = {
        "server.address": host,
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.maxUploadSize": UPLOAD,
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "runner.magicEnabled": "false",
        "theme.light.primaryColor": "#2f7de1",
        "theme.dark.primaryColor": "#2f7de1",
    }
    page = str(Path(__file__).parent / "serving" / "page.py")
    flags = [f"--{key}={value}" for key, value in options.items()]
    passed = [it for key, value in told.items() if value for it in (key, value)]
    with contextlib.suppress(KeyboardInterrupt):
        cli.main(["run", page, *flags, "--", *passed], standalone_mode=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
