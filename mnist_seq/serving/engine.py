"""The engine of a running service: torch reads until ONNX Runtime, which is faster, takes over."""

from __future__ import annotations

import asyncio
import logging
import pickle

import numpy as np

from mnist_seq.config import ServeConfig
from mnist_seq.cpu_cores import available_cores
from mnist_seq.errors import UserError
from mnist_seq.extras import missing_package
from mnist_seq.inference.onnx_export import build_graph
from mnist_seq.inference.onnx_reader import OnnxReader, returns_readings
from mnist_seq.inference.reader import Reader
from mnist_seq.serving.background import ProcessDied, run_in_process
from mnist_seq.serving.pipeline import InferencePipeline

_logger = logging.getLogger(__name__)


async def take_over(pipeline: InferencePipeline, config: ServeConfig) -> None:
    """With `engine=auto`, export the graph of the pipeline's model, and let ONNX Runtime read.

    torch stays in use where the extra `onnx` is not installed, on a GPU, and if the model classifies cells or cannot
    be exported, or if ONNX Runtime predicts different digits.
    """
    reader = pipeline.reader
    if config.engine != "auto" or reader.device.type != "cpu" or missing_package("onnx"):
        return
    if not returns_readings(reader.model):
        return
    try:
        graph = await run_in_process(_export_pickled, pickle.dumps((reader.model, reader.card)))
        threads = config.threads or available_cores()
        onnx_reader = await asyncio.to_thread(OnnxReader, reader.model, reader.card, graph, threads)
        await asyncio.to_thread(_check_readings, onnx_reader, reader)
    except (UserError, ProcessDied) as error:
        _logger.warning(f"torch stays in use: {error}")
    except Exception:
        _logger.exception("torch stays in use")
    else:
        pipeline.reader = onnx_reader
        _logger.info("ONNX Runtime is now in use")


def _export_pickled(model_and_card: bytes) -> bytes:
    return build_graph(*pickle.loads(model_and_card))


def _check_readings(one: Reader, other: Reader) -> None:
    """Check that two readers agree on pictures of several sizes: of the canvas', wide, tall, and without ink.

    Raises:
        UserError: they do not.
    """
    spec = other.model.spec
    pictures = [np.eye(spec.height, spec.width, dtype=bool), np.zeros((5, 7), bool)]
    for height, width in ((61, 203), (203, 61)):
        page = np.ones((height, width), bool)
        page[10:-10, 10:-10:9] = page[10:-10:9, 10:-10] = False
        pictures.append(page)
    if [it.digits for it in one.read(pictures)] != [it.digits for it in other.read(pictures)]:
        raise UserError("ONNX Runtime predicts different digits")
