"""Suite inference: latency of greedy decoding, against other libraries' models and ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from mnist_seq import extras
from mnist_seq.benchmarks import baseline_models
from mnist_seq.benchmarks.rendering import renderer
from mnist_seq.benchmarks.timer import Measurement, speedups, summarize, time_interleaved
from mnist_seq.benchmarks.training import build_module
from mnist_seq.config import BenchConfig
from mnist_seq.nn.encoder_decoder import EncoderDecoder
from mnist_seq.vocabulary import EOS

if TYPE_CHECKING:
    from mnist_seq.training.module import ReaderModule

_LARGE_BATCH = 64
_SINGLE_READS = 10
"""Single images that one model reads in its turn: after the others' turns, its weights are not in the cache."""


def inference(config: BenchConfig) -> list[Measurement]:
    """Greedy decoding of grids, one at a time and in a batch of 64."""
    measurements = []
    images = renderer("grid", "none", config)().images
    for model_name in ("enc_dec", "classifier"):
        module = build_module(model_name, "grid", config)
        if model_name == "enc_dec":  # all models take every step: ours would stop where all sequences have ended
            cast(EncoderDecoder, module.model).lm_head.bias.data[EOS] = -1e9
        models: dict[str, Callable[[Tensor], Any]] = {"ours": torch.inference_mode()(module.model.eval().read)}
        if model_name == "enc_dec":
            baselines = baseline_models.build_baselines(module.model, config.device)
            models |= {name: baseline.inference_fn() for name, baseline in baselines.items()}
            models |= _onnx_model(module) if config.device == "cpu" else {}
        for batch, num_reads in ((images[:1], _SINGLE_READS), (images[:_LARGE_BATCH], 1)):
            workloads = {name: partial(_read_repeatedly, read, batch, num_reads) for name, read in models.items()}
            seconds, label = time_interleaved(workloads, config.repeats), f"{model_name}, batch {len(batch)}"
            for name, rounds in seconds.items():
                measurements.append(summarize(f"{label}, {name}", "ms", (1000 * it / num_reads for it in rounds)))
            measurements += speedups(label, seconds)
    return measurements


def _read_repeatedly(read: Callable[[Tensor], Any], images: Tensor, num_reads: int) -> None:
    for _ in range(num_reads):
        read(images)


def _onnx_model(module: ReaderModule) -> dict[str, Callable[[Tensor], Any]]:
    """Our model in ONNX Runtime, if that is installed; on one thread, since a second slows down single images."""
    from mnist_seq.inference import onnx_export

    if extras.missing_package("onnx"):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "reader.onnx")
        onnx_export.export_onnx(module.model, path, {}, include_preprocessing=False)
        session = onnx_export.create_session(path, num_threads=1)
    return {"ours in ONNX Runtime, 1 thread": lambda images: session.run(None, {"images": images.numpy()})}
