"""Greedy decoding as a loop of an ONNX graph, which ends when every sequence has ended.

torch.onnx writes no loop whose values grow, as cached keys and values do. So what comes before the loop, one step and
what comes after it are exported one by one, and joined here.

Shapes   B sequences   H W canvas   S steps taken
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from mnist_seq.nn.attention_maps import record_attention
from mnist_seq.nn.decoding import forbidden_tokens
from mnist_seq.nn.encoder_decoder import EncoderDecoder
from mnist_seq.vocabulary import BOS, NUM_DIGITS

if TYPE_CHECKING:
    import onnx

_SCANNED = ("tokens", "log_probs")
_EXPLAINED = ("runners_up", "runner_up_log_probs", "attention")
"""What the loop returns of each step: S B 1, but of attention S B H and patches; the others where it explains."""
ExportFn = Callable[[nn.Module, tuple[Tensor, ...], dict[str, Any], Sequence[str]], "onnx.ModelProto"]
"""From a module, example inputs, the dynamic shapes of each by its name, and the names of the outputs, to a graph."""


def export_with_loop(
    model: EncoderDecoder,
    export: ExportFn,
    prepare: nn.Module,
    inputs: tuple[Tensor, ...],
    dynamic_shapes: dict[str, Any],
    prepared: Sequence[str],
    finish: nn.Module,
    outputs: Sequence[str],
    explain: bool = False,
) -> onnx.ModelProto:
    """Export a model with what comes before and after it.

    Args:
        prepare: from the graph's inputs to images, B 1 H W, and other values.
        inputs: of `prepare`, examples.
        dynamic_shapes: of the inputs, by name.
        prepared: names of the outputs of `prepare`; the first are the images.
        finish: from the tokens and log-probabilities of the steps, S B 1, and the images to the outputs of that name.
        outputs: names of the outputs of `finish`, then those of `prepare` that the graph returns too.
        explain: return the attention of each step too, and pass the runners-up and their log-probabilities to `finish`.
    """
    # a name stands for one size in the whole graph, and the inputs of `prepare` have a batch of their own
    rows, length, steps = (torch.export.Dim(name, min=1) for name in ("rows", "length", "steps"))
    spec = model.spec
    cache = model.start(torch.zeros(2, 1, spec.height, spec.width))
    token, ended = torch.full((2, 1), BOS), torch.zeros(2, 1, dtype=torch.bool)
    first, cache_spec = pytree.tree_flatten(cache)
    for _ in range(3):
        cache = model.step(token, cache)[1]
    leaves = pytree.tree_leaves(cache)
    names = [f"cache_{index}" for index in range(len(leaves))]
    carried = [index for index, leaf in enumerate(leaves) if leaf is not first[index]]  # what a step leaves as it was
    state = ["token", "ended", *(names[index] for index in carried)]  # is taken from outside the loop

    def cache_dims(index: int) -> dict[int, Any]:
        sizes = zip(first[index].shape, leaves[index].shape, strict=True)
        return {0: rows} | {dim: length for dim, (before, after) in enumerate(sizes) if before != after}

    start = export(_Start(model, prepare), inputs, dynamic_shapes, [*prepared, "token", "ended", *names])
    scanned = [*_SCANNED, *(_EXPLAINED if explain else ())]
    step = export(
        _Step(model, cache_spec, carried, explain),
        (token, ended, *leaves),
        {"token": {0: rows}, "ended": {0: rows}} | {name: cache_dims(index) for index, name in enumerate(names)},
        ["continue", *(f"next_{name}" for name in state), *(f"step_{name}" for name in scanned)],
    )
    decoded = [name for name in scanned if name != "attention"]
    end = export(
        finish,
        (
            *(torch.zeros(3, 2, 1) if "prob" in name else torch.full((3, 2, 1), BOS) for name in decoded),
            torch.zeros(2, 1, spec.height, spec.width),
        ),
        {name: {0: steps, 1: rows} for name in decoded} | {"canvases": {0: rows}},
        [name for name in outputs if name not in (*prepared, "attention")],
    )
    return _join(start, step, end, state, scanned, spec.max_length + 1, outputs)


class _Start(nn.Module):
    """What comes before the loop: the prepared values, the first token, what has ended, and the cache."""

    def __init__(self, model: EncoderDecoder, prepare: nn.Module) -> None:
        super().__init__()
        self.model, self.prepare = model, prepare

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        images, *others = self.prepare(*inputs)
        token = torch.full((images.shape[0], 1), BOS)
        ended = torch.zeros_like(token, dtype=torch.bool)
        return images, *others, token, ended, *pytree.tree_leaves(self.model.start(images))


class _Step(nn.Module):
    """One step: whether to continue, the state of the next one, and what was read."""

    def __init__(self, model: EncoderDecoder, cache_spec: pytree.TreeSpec, carried: list[int], explain: bool) -> None:
        super().__init__()
        self.model, self.cache_spec, self.carried, self.explain = model, cache_spec, carried, explain

    def forward(self, token: Tensor, ended: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
        with record_attention(self.model) if self.explain else nullcontext({}) as maps:
            logits, cache = self.model.step(token, pytree.tree_unflatten(leaves, self.cache_spec))
        logits = logits[:, -1].masked_fill(forbidden_tokens(logits.device), -torch.inf)
        token = logits.argmax(-1, keepdim=True)
        ended = ended | (token >= NUM_DIGITS)
        new_leaves, log_probs = pytree.tree_leaves(cache), logits.log_softmax(-1)
        read = [token.clone(), log_probs.gather(-1, token)]
        if self.explain:
            runner_up = logits.scatter(-1, token, -torch.inf).argmax(-1, keepdim=True)
            *_, attention = (weights for name, weights in maps.items() if name.endswith("cross_attention"))
            read += [runner_up, log_probs.gather(-1, runner_up), attention[:, :, 0]]
        return ~ended.all(), token, ended, *(new_leaves[index] for index in self.carried), *read


def _join(
    start: onnx.ModelProto,
    step: onnx.ModelProto,
    end: onnx.ModelProto,
    state: list[str],
    scanned: list[str],
    max_steps: int,
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """Join three graphs: outputs of the first and of the loop are, by name, inputs of the others."""
    from onnx import TensorProto, compose, helper

    keep_names = {"rename_inputs": False, "rename_outputs": False}
    start, end = compose.add_prefix(start, "start/", **keep_names), compose.add_prefix(end, "end/", **keep_names)
    step = compose.add_prefix(step, "step/")
    inputs = {value.name.removeprefix("step/"): value for value in step.graph.input}
    from_outside = [helper.make_node("Identity", [name], [f"step/{name}"]) for name in inputs if name not in state]
    count, proceed = (
        helper.make_tensor_value_info(f"step/{name}", kind, [])
        for name, kind in (("count", TensorProto.INT64), ("proceed", TensorProto.BOOL))
    )
    body = helper.make_graph(
        [*from_outside, *step.graph.node],
        "step",
        [count, proceed, *(inputs[name] for name in state)],
        step.graph.output,
        step.graph.initializer,
    )
    limits = [
        helper.make_tensor("max_steps", TensorProto.INT64, [], [max_steps]),
        helper.make_tensor("first_step", TensorProto.BOOL, [], [True]),
    ]
    results = [*(f"last_{name}" for name in state), *scanned]
    loop = helper.make_node("Loop", ["max_steps", "first_step", *state], results, name="greedy", body=body)
    values = {value.name: value for part in (start, end) for value in part.graph.output}
    values["attention"] = helper.make_tensor_value_info("attention", TensorProto.FLOAT, [None] * 4)
    graph = helper.make_graph(
        [*start.graph.node, loop, *end.graph.node],
        "reader",
        start.graph.input,
        [values[name] for name in outputs],
        [*start.graph.initializer, *limits, *end.graph.initializer],
    )
    return helper.make_model(graph, opset_imports=start.opset_import, ir_version=start.ir_version)
