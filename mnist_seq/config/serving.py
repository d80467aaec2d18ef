"""The HTTP service."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from mnist_seq.config.validation import DEVICES, check, check_choice, check_trust


@dataclass
class RequestLimits:
    """Limits of the HTTP service; requests beyond them are refused with a reason."""

    body_bytes: int = 10_000_000
    """Largest request body, bytes."""
    files: int = 64
    """Images per request."""
    pixels: int = 25_000_000
    """Pixels per image, checked before decoding, which takes up to 16 bytes per pixel."""
    concurrency: int = 128
    """Requests at a time; further ones get status 429."""
    queue_size: int = 256
    """Images waiting or being read, at least limits.files; requests beyond that get status 429."""
    timeout: float = 10.0
    """Seconds for the headers to arrive, for the body, and for the reading, each."""

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            check(value > 0, f"limits.{key}={value} must be above 0")
        check(
            self.files <= self.queue_size,
            f"limits.files={self.files} do not fit into limits.queue_size={self.queue_size}: "
            f"choose limits.queue_size={self.files} or more",
        )


@dataclass
class ServeConfig:
    """Serve a model over HTTP: `python -m mnist_seq.serve`."""

    run: str = "pretrained:grid"
    """Model to serve: pretrained:NAME, a run directory, a checkpoint or weights."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 accepts requests from everywhere."""
    port: int = 8000
    """Port, 0..65535; 0 takes a free one."""
    token: str | None = None
    """Bearer token that requests must send, 16 or more printable ASCII characters; by default $MNIST_SEQ_TOKEN."""
    max_batch_size: int = 32
    """Images per batch, of one or several requests."""
    threads: int | None = 1
    """CPU threads of torch; null leaves it to torch."""
    self_test: bool = True
    """Refuse to serve a model whose accuracy on built-in scenes is below that of its release."""
    trust: Any = None
    """Let code from outside the package run that the model names: true for any, or the name of a module."""
    device: str = "cpu"
    """Device: auto, cpu, cuda or mps."""
    limits: RequestLimits = field(default_factory=RequestLimits)
    """Limits of requests."""

    def __post_init__(self) -> None:
        check_choice("device", self.device, DEVICES)
        check_trust(self.trust)
        check(0 <= self.port <= 65535, f"port={self.port} must lie in 0..65535; 0 takes a free one")
        check(self.max_batch_size >= 1, f"max_batch_size={self.max_batch_size} must be at least 1")
        check(self.threads is None or self.threads >= 1, f"threads={self.threads} must be at least 1, or null")
        valid = self.token is None or re.fullmatch(r"[!-~]{16,}", self.token)
        check(bool(valid), "token must be 16 or more printable ASCII characters without spaces, or null for none")
