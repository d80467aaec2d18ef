"""What a service can be asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from mnist_seq.config.commands import DEVICES
from mnist_seq.config.law import require, require_known, require_trust


@dataclass
class Limits:
    """Of what a service takes; what is more is refused with a reason."""

    bytes: int = 10_000_000
    """Of a request's body."""
    files: int = 64
    """Pictures in a request."""
    pixels: int = 25_000_000
    """Of a picture; looked up before it is decoded, which takes up to 16 bytes a pixel."""
    requests: int = 128
    """At once, each with a body of its own; one more is told to come back (429)."""
    queue: int = 256
    """Pictures in hand, decoded, waiting or being read; beyond that a request is told to come back (429)."""
    seconds: float = 10.0
    """For a request's headers to arrive, for its body, and for its pictures to be read, each."""

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            require(value > 0, f"limits.{key}={value} must be above 0")
        require(
            self.files <= self.queue,
            f"limits.files={self.files} never fit into limits.queue={self.queue}: choose at least as long a queue",
        )


@dataclass
class ServeConfig:
    """A reader over HTTP: `python -m mnist_seq.serve`."""

    run: str = "pretrained:grid"
    """An included model, or a run directory, a checkpoint or weights; `model=` says the same."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 takes requests from everywhere."""
    port: int = 8000
    token: str | None = None
    """What requests must bear (`Authorization: Bearer ...`); better in $MNIST_SEQ_TOKEN than on a command line."""
    batch: int = 32
    """Pictures, of one or several requests, that are read at once; 1 reads one by one."""
    threads: int | None = 1
    """CPU threads that read; null leaves it to torch."""
    gate: bool = True
    """Refuse to serve a reader that reads built-in scenes worse than when it was released."""
    trust: Any = None
    """true, or a module: the code from outside the package that the model names may run."""
    device: str = "cpu"
    """auto, cpu, cuda, mps."""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        require_known("device", self.device, DEVICES)
        require_trust(self.trust)
        require(0 <= self.port <= 65535, f"port={self.port} must lie in 0..65535; 0 takes a free one")
        require(self.batch >= 1, f"batch={self.batch} must be at least 1")
        require(self.threads is None or self.threads >= 1, f"threads={self.threads} must be at least 1, or null")
        fit = self.token is None or re.fullmatch(r"[!-~]{16,}", self.token)
        require(bool(fit), "token must be 16 or more printable ASCII characters without spaces, or null for none")
