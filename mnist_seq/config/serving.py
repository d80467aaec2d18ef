"""What a service can be asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from mnist_seq.config.validation import DEVICES, check, check_choice, check_trust


@dataclass
class RequestLimits:
    """Of what a service takes; what is more is refused with a reason."""

    body_bytes: int = 10_000_000
    """Of a request's body."""
    files: int = 64
    """Pictures in a request."""
    pixels: int = 25_000_000
    """Of a picture; looked up before it is decoded, which takes up to 16 bytes a pixel."""
    concurrency: int = 128
    """At once, each with a body of its own; one more is told to come back (429)."""
    queue_size: int = 256
    """Pictures in hand, decoded, waiting or being read; beyond that a request is told to come back (429)."""
    timeout: float = 10.0
    """For a request's headers to arrive, for its body, and for its pictures to be read, each."""

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            check(value > 0, f"limits.{key}={value} must be above 0")
        check(
            self.files <= self.queue_size,
            f"limits.files={self.files} never fit into limits.queue_size={self.queue_size}: "
            f"choose limits.queue_size={self.files} or more",
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
    max_batch_size: int = 32
    """Pictures, of one or several requests, that are read at once; 1 reads one by one."""
    threads: int | None = 1
    """CPU threads that read; null leaves it to torch."""
    self_test: bool = True
    """Refuse to serve a reader that reads built-in scenes worse than when it was released."""
    trust: Any = None
    """true, or a module: the code from outside the package that the model names may run."""
    device: str = "cpu"
    """auto, cpu, cuda, mps."""
    limits: RequestLimits = field(default_factory=RequestLimits)

    def __post_init__(self) -> None:
        check_choice("device", self.device, DEVICES)
        check_trust(self.trust)
        check(0 <= self.port <= 65535, f"port={self.port} must lie in 0..65535; 0 takes a free one")
        check(self.max_batch_size >= 1, f"max_batch_size={self.max_batch_size} must be at least 1")
        check(self.threads is None or self.threads >= 1, f"threads={self.threads} must be at least 1, or null")
        fit = self.token is None or re.fullmatch(r"[!-~]{16,}", self.token)
        check(bool(fit), "token must be 16 or more printable ASCII characters without spaces, or null for none")
