"""Serve a model: `python -m mnist_seq.serve run=pretrained:grid`, then http://127.0.0.1:8000."""

from __future__ import annotations

import logging
import signal
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_seq import cli
from mnist_seq.config import ServeConfig
from mnist_seq.cpu_cores import available_cores
from mnist_seq.errors import UserError
from mnist_seq.extras import check_extra

if TYPE_CHECKING:
    import socket


def main() -> None:
    cli.run_command("serve", _job, keep_memory=False)


def _job(config: ServeConfig, run_dir: Path) -> None:
    check_extra("serve", "serve")
    if config.engine == "onnx":
        check_extra("engine=onnx", "onnx")
    import uvicorn
    from PIL import Image

    from mnist_seq.evaluation import release_check
    from mnist_seq.find_runs import resolve_run
    from mnist_seq.inference import reader
    from mnist_seq.inference.device import resolve_device
    from mnist_seq.serving import service
    from mnist_seq.serving.json_logging import JSONFormatter
    from mnist_seq.serving.timeouts import TimeoutProtocol

    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # limits.pixels rejects them
    logger = logging.getLogger("mnist_seq")
    logger.handlers[0].setFormatter(JSONFormatter())
    logging.getLogger("uvicorn").handlers = logger.handlers
    listener = _bind_socket(config)
    device = "cpu" if config.engine == "onnx" else resolve_device(config.device)
    loaded = reader.load(resolve_run(config.run), device, config.trust)
    if config.self_test:
        self_test = release_check.check_release_scores(loaded.model, loaded.card)
    else:
        self_test = "skipped: self_test=false"
    if config.engine == "onnx":
        from mnist_seq.inference.onnx_export import build_graph
        from mnist_seq.inference.onnx_reader import OnnxReader, check_returns_readings

        check_returns_readings(loaded.model)
        graph = build_graph(loaded.model, loaded.card)
        loaded = OnnxReader(loaded.model, loaded.card, graph, config.threads or available_cores())
    host, port = listener.getsockname()[:2]
    logger.info(f"{config.run}: {self_test}")
    if not config.token and host not in ("127.0.0.1", "::1"):
        logger.warning(f"no authentication on {host}: set MNIST_SEQ_TOKEN to require a token")
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    logger.info(f"listening on {address}, with a demo page there and docs on {address}/docs")
    server = uvicorn.Server(
        uvicorn.Config(
            service.create_app(loaded, config, self_test),
            http=TimeoutProtocol.with_timeout(config.limits.timeout),
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="on",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=int(3 * config.limits.timeout) + 1,
        )
    )
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: None)  # uvicorn installs its own, and re-raises the signal at the end
    server.run(sockets=[listener])
    logger.info("stopped")


def _bind_socket(config: ServeConfig) -> socket.socket:
    """Bind the address before the model is loaded.

    Raises:
        UserError: the port is in use, or the address does not exist.
    """
    import socket

    try:
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        return socket.create_server((config.host, config.port), family=family, backlog=2048)
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]
        raise UserError(
            f"host={config.host} port={config.port} cannot be bound ({reason}): "
            "choose another host, another port, or port=0 for a free one"
        ) from error


if __name__ == "__main__":
    main()
