"""Suite step_profile: what the time of a training step is spent on, by kind of operation."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from torch.profiler import ProfilerActivity, profile

from mnist_seq.benchmarks.timer import Measurement, Workload, ratio, summarize, synchronize
from mnist_seq.benchmarks.training import available_precisions, build_module, make_default_step
from mnist_seq.config import BenchConfig

_MAX_REPEATS = 10
_WARMUP_STEPS = 3
KINDS = {
    "matrix products": r"mm$|matmul|einsum|convolution",
    "attention kernel": r"scaled_dot_product|flash_attention|efficient_attention",
    "softmax": r"softmax|logsumexp",
    "norms": r"layer_norm|rms_norm",
    "activations": r"gelu|relu|silu|threshold",
    "optimizer and clipping": r"_foreach_|_fused_adam|linalg_vector_norm",
    "casts and copies": r"copy_|clone|::cat$|::stack$",
    "sums for biases and embeddings": r"::sum$|embedding",
}
"""Kind of operation -> pattern of the names of torch's operations; the first that matches counts."""
OTHER, BETWEEN = "other operations", "between operations: Python and autograd"


def step_profile(config: BenchConfig) -> list[Measurement]:
    """Milliseconds of a step of the default run by kind of operation, under torch's profiler, which slows it down."""
    module = build_module("enc_dec", "grid", config)
    step = make_default_step(module, "grid", "light", config)
    for _ in range(_WARMUP_STEPS):
        step()
    rounds = [_profile(step, config.device) for _ in range(min(config.repeats, _MAX_REPEATS))]
    totals = [sum(it.values()) for it in rounds]
    precision = available_precisions(config.device)[-1].name
    measurements = [summarize(f"{precision}, whole step", "ms", totals)]
    for kind in (*KINDS, OTHER, BETWEEN):
        milliseconds = [it[kind] for it in rounds]
        if not any(milliseconds):
            continue
        measurements.append(summarize(f"{precision}, {kind}", "ms", milliseconds))
        measurements.append(ratio(f"{precision}, {kind}, share", milliseconds, totals, "%"))
    return measurements


def kind_of(operation: str) -> str:
    """Kind of an operation, by its name in the profile, such as aten::addmm."""
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, operation)), OTHER)


def _profile(step: Workload, device: str) -> Mapping[str, float]:
    """Milliseconds of one step by kind of operation, on the device that computes."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device == "cuda")
    milliseconds = dict.fromkeys((*KINDS, OTHER, BETWEEN), 0.0)
    with profile(activities=activities) as profiler:
        synchronize()
        start = time.perf_counter()
        step()
        synchronize()
        seconds = time.perf_counter() - start
    for event in profiler.key_averages():
        if event.device_type.name != "CPU" or not event.key.startswith("aten::"):
            continue  # the kernels of a GPU are listed again, beside the operations that launch them
        microseconds = event.self_device_time_total if device == "cuda" else event.self_cpu_time_total
        milliseconds[kind_of(event.key)] += microseconds / 1000
    milliseconds[BETWEEN] = 1000 * seconds - sum(milliseconds.values())
    return milliseconds
