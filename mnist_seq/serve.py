"""A reader over HTTP: `python -m mnist_seq.serve model=pretrained:grid`, then http://127.0.0.1:8000/docs."""

from __future__ import annotations

import logging
import signal
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_seq import command
from mnist_seq.config import ServeConfig
from mnist_seq.errors import UserError
from mnist_seq.extras import require_extra

if TYPE_CHECKING:
    import socket

    from omegaconf import DictConfig


def main() -> None:
    command.run("serve", _job, aliases={"model": "run"})  # to Hydra, model= is the group of architectures


def _job(cfg: DictConfig, directory: Path) -> None:
    config = command.typed(cfg, ServeConfig)
    require_extra("serve", "serve")
    import uvicorn
    from PIL import Image

    from mnist_seq.learn import gate, machine
    from mnist_seq.run import named
    from mnist_seq.serving import service
    from mnist_seq.serving.guard import JSONLines
    from mnist_seq.serving.protocol import Hasty
    from mnist_seq.use import reader

    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # limits.pixels refuses them
    logger = logging.getLogger("mnist_seq")
    logger.handlers[0].setFormatter(JSONLines())
    logging.getLogger("uvicorn").handlers = logger.handlers
    taken = _listen(config)
    loaded = reader.load(named(config.run), machine.device(config.device), config.trust)
    examined = gate.check(loaded.model, loaded.card) if config.gate else "not examined: gate=false"
    host, port = taken.getsockname()[:2]
    logger.info(f"{config.run}: {examined}")
    if not config.token and host not in ("127.0.0.1", "::1"):
        logger.warning(f"whoever reaches {host} can ask: set MNIST_SEQ_TOKEN to ask for a token")
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    logger.info(f"listening on {address}, docs on {address}/docs")
    server = uvicorn.Server(
        uvicorn.Config(
            service.build(loaded, config, examined),
            http=Hasty.within(config.limits.seconds),
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="on",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=int(3 * config.limits.seconds) + 1,
        )
    )
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: None)  # the server has its own handlers, and raises what it caught at the end
    server.run(sockets=[taken])
    logger.info("stopped")


def _listen(config: ServeConfig) -> socket.socket:
    """Take the port before anything is loaded.

    Raises:
        OSError: another program has it, or there is no such address.
    """
    import socket

    try:
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        return socket.create_server((config.host, config.port), family=family, backlog=2048)
    except OSError as problem:
        why = str(problem.strerror).partition(" (while")[0]
        reason = f"host={config.host} port={config.port} cannot be listened on ({why})"
        raise UserError(f"{reason}: choose another host, another port, or port=0 for a free one") from problem


if __name__ == "__main__":
    main()
