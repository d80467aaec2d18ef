"""The HTTP service."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated

from mnist_seq.config.field_types import Device, PositiveFloat, PositiveInt, one_of, within
from mnist_seq.config.trust import Trust
from mnist_seq.config.validation import Validated, check


@dataclass
class RequestLimits(Validated):
    """Limits of the HTTP service; requests beyond them are refused with a reason."""

    key_prefix = "limits."

    body_bytes: PositiveInt = 10_000_000
    """Largest request body, bytes."""
    files: PositiveInt = 64
    """Images per request."""
    pixels: PositiveInt = 25_000_000
    """Pixels per image, checked before decoding, which takes up to 20 bytes per pixel."""
    concurrency: PositiveInt = 128
    """Requests at a time; further ones get status 429."""
    queue_size: PositiveInt = 256
    """Images waiting or being read, at least limits.files; requests beyond that get status 429."""
    timeout: PositiveFloat = 10.0
    """Seconds for the headers to arrive, for the body, and for the reading, each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            self.files <= self.queue_size,
            f"limits.files={self.files} do not fit into limits.queue_size={self.queue_size}: "
            f"choose limits.queue_size={self.files} or more",
        )


@dataclass
class ServeConfig(Validated):
    """Serve a model over HTTP: `python -m mnist_seq.serve`."""

    run: str = "pretrained:line"
    """Model to serve: pretrained:NAME, a run directory, a checkpoint or weights."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 accepts requests from everywhere."""
    port: Annotated[int, within(0, 65535)] = 8000
    """Port, 0..65535; 0 takes a free one."""
    token: str | None = None
    """Bearer token that requests must send, 16 or more printable ASCII characters; by default $MNIST_SEQ_TOKEN."""
    max_batch_size: PositiveInt = 32
    """Images per batch, of one or several requests."""
    threads: PositiveInt | None = 1
    """CPU threads that read; null means one for each available core."""
    self_test: bool = True
    """Refuse to serve a model whose accuracy on built-in scenes is below that of its release."""
    trust: Trust = None
    """Allow code outside the package that the model names: true for any, or the name of a module."""
    device: Device = "cpu"
    """Device: auto, cpu, cuda or mps."""
    engine: Annotated[str, one_of(("auto", "torch", "onnx"))] = "auto"
    """Inference engine: `torch`; `onnx`, ONNX Runtime, which is faster, but the service starts only after half a minute
    of export; or `auto`, torch during the export and ONNX Runtime after it, or torch throughout where ONNX Runtime
    cannot run the model."""
    limits: RequestLimits = field(default_factory=RequestLimits)
    """Limits of requests."""

    def __post_init__(self) -> None:
        super().__post_init__()
        valid = self.token is None or re.fullmatch(r"[!-~]{16,}", self.token)
        check(
            self.engine != "onnx" or self.device in ("auto", "cpu"),
            f"engine=onnx reads on the CPU, not on device={self.device}: leave device out, or use engine=torch",
        )
        check(bool(valid), "token must be 16 or more printable ASCII characters without spaces, or null for none")
