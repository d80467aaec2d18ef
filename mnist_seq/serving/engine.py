"""The engine of a running service: torch reads until ONNX Runtime, which is faster, takes over."""

from __future__ import annotations

import asyncio
import logging

from mnist_seq.config import ServeConfig
from mnist_seq.config.trust import Trust
from mnist_seq.errors import UserError
from mnist_seq.extras import missing_package
from mnist_seq.find_runs import resolve_run
from mnist_seq.inference import weights
from mnist_seq.inference.onnx_reader import OnnxReader, export_graph, returns_readings
from mnist_seq.serving.background import run_in_process
from mnist_seq.serving.pipeline import InferencePipeline

_logger = logging.getLogger(__name__)


async def take_over(pipeline: InferencePipeline, config: ServeConfig) -> None:
    """With `engine=auto`, export the graph of the pipeline's model, and let ONNX Runtime read.

    torch goes on reading where the extra `onnx` is not installed, on a GPU, and if the model classifies cells or cannot
    be exported.
    """
    reader = pipeline.reader
    if config.engine != "auto" or reader.device.type != "cpu" or missing_package("onnx"):
        return
    if not returns_readings(reader.model):
        return
    try:
        graph = await run_in_process(_exported_graph, config.run, config.trust)
        threads = config.threads or 0
        pipeline.reader = await asyncio.to_thread(OnnxReader, reader.model, reader.card, graph, threads)
    except UserError as error:
        _logger.info(f"torch goes on reading: {error}")
    except Exception:
        _logger.exception("torch goes on reading")
    else:
        _logger.info("ONNX Runtime reads from now on")


def _exported_graph(run: str, trust: Trust) -> bytes:
    return export_graph(*weights.load(resolve_run(run), trust=trust))
