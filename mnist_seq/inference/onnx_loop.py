"""Greedy decoding as a loop in an ONNX graph that stops once every sequence has ended.

torch.onnx cannot export a loop whose state grows, as cached keys and values do. So the part before the loop, one step
and the part after it are exported separately, and merged here.

Shapes   B sequences   H W canvas   S steps taken   A attention heads   P patches
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from mnist_seq.nn.attention_maps import record_attention
from mnist_seq.nn.decoding import forbidden_tokens
from mnist_seq.nn.encoder_decoder import EncoderDecoder
from mnist_seq.nn.model import Model
from mnist_seq.vocabulary import BOS, NUM_DIGITS

if TYPE_CHECKING:
    import onnx

_TRACED_LENGTH = 3
"""Length of the cache that a step is traced with; lengths of 0 and 1 would be taken for constants. The loop begins with
an empty cache, which every operator of a step accepts."""

_PREDICTED = ("tokens", "log_probs")
"""What the loop returns of each step, S B 1."""
_EXPLAINED = ("runners_up", "runner_up_log_probs", "attention")
"""What it returns too if it explains: the second likeliest token and its log-probability, S B 1, and the attention of
the last decoder block, S B A P."""


class Inputs(NamedTuple):
    """Inputs of a graph."""

    examples: tuple[Tensor, ...]
    dynamic_dims: dict[str, dict[int, Any]]
    """Name of each input -> dimensions of any size."""


def can_loop(model: Model) -> bool:
    """Whether a model decodes as `EncoderDecoder` does, and sequences are long enough for a loop to be traced."""
    methods = ("start", "step", "read")
    inherits = all(getattr(type(model), name, None) is getattr(EncoderDecoder, name) for name in methods)
    return inherits and model.spec.max_length >= _TRACED_LENGTH


def export_graph(module: nn.Module, inputs: Inputs, outputs: Sequence[str]) -> onnx.ModelProto:
    """Export a module to one ONNX graph.

    Args:
        inputs: of the module, in its order.
        outputs: names of its outputs.

    Raises:
        OnnxExporterError: an operator has no counterpart in ONNX.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Positional(module).eval(),
            inputs.examples,
            dynamo=True,
            verbose=False,
            input_names=list(inputs.dynamic_dims),
            output_names=list(outputs),
            dynamic_shapes=(tuple(inputs.dynamic_dims.values()),),
        )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # stack traces of the export, which are larger than the weights
    return model


class _Positional(nn.Module):
    """A module whose inputs have no names: so the dynamic dimensions of any module can be given alike."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Any:
        return self.module(*inputs)


@torch.no_grad()
def export_with_loop(
    model: EncoderDecoder,
    *,
    preprocess: nn.Module,
    inputs: Inputs,
    preprocessed: Sequence[str],
    postprocess: nn.Module,
    outputs: Sequence[str],
    explain: bool = False,
) -> onnx.ModelProto:
    """Export a model with what comes before and after it.

    Args:
        preprocess: from the graph's inputs to canvases, B 1 H W, and other values.
        inputs: of `preprocess`.
        preprocessed: names of those other values.
        postprocess: from the tokens and log-probabilities of the steps, S B 1, and the canvases to `outputs`.
        outputs: names; the graph returns them, and then what `preprocessed` names.
        explain: pass the runners-up and their log-probabilities to `postprocess` too, before the canvases; and return
            `attention`, S B A P, and `canvases` last.
    """
    # a name stands for one size in the whole graph, and the inputs of `preprocess` have a batch of their own
    rows, length, steps = (torch.export.Dim(name, min=1) for name in ("rows", "length", "steps"))
    canvases = torch.zeros(2, 1, model.spec.height, model.spec.width)
    token, ended = torch.full((2, 1), BOS), torch.zeros(2, 1, dtype=torch.bool)
    cache = model.start(canvases)
    empty, cache_spec = pytree.tree_flatten(cache)
    for _ in range(_TRACED_LENGTH):
        cache = model.step(token, cache)[1]
    leaves = pytree.tree_leaves(cache)
    names = [f"cache_{index}" for index in range(len(leaves))]
    carried = [index for index, leaf in enumerate(leaves) if leaf is not empty[index]]  # what a step leaves as it was
    state = ["token", "ended", *(names[index] for index in carried)]  # is taken from outside the loop

    def cache_dims(index: int) -> dict[int, Any]:
        sizes = zip(empty[index].shape, leaves[index].shape, strict=True)
        return {0: rows} | {dim: length for dim, (before, after) in enumerate(sizes) if before != after}

    before = export_graph(_Start(model, preprocess), inputs, ["canvases", *preprocessed, "token", "ended", *names])
    cache_inputs = {name: cache_dims(index) for index, name in enumerate(names)}
    scanned = [*_PREDICTED, *_EXPLAINED] if explain else [*_PREDICTED]
    step = export_graph(
        _Step(model, cache_spec, carried, explain),
        Inputs((token, ended, *leaves), {"token": {0: rows}, "ended": {0: rows}} | cache_inputs),
        ["continue", *(f"next_{name}" for name in state), *(f"step_{name}" for name in scanned)],
    )
    predicted = [name for name in scanned if name != "attention"]
    dtypes = (torch.float32 if "prob" in name else torch.int64 for name in predicted)
    examples = (*(torch.zeros(_TRACED_LENGTH, 2, 1, dtype=dtype) for dtype in dtypes), canvases)
    dynamic_dims = {name: {0: steps, 1: rows} for name in predicted} | {"canvases": {0: rows}}
    after = export_graph(postprocess, Inputs(examples, dynamic_dims), outputs)
    results = [*outputs, *preprocessed, *(["attention", "canvases"] if explain else [])]
    return _merge_graphs(before, step, after, state, scanned, model.spec.max_length + 1, results)


class _Start(nn.Module):
    """What comes before the loop: the preprocessed values, the first token, what has ended, and the cache."""

    def __init__(self, model: EncoderDecoder, preprocess: nn.Module) -> None:
        super().__init__()
        self.model, self.preprocess = model, preprocess

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        canvases, *others = self.preprocess(*inputs)
        token = torch.full((canvases.shape[0], 1), BOS)
        ended = torch.zeros_like(token, dtype=torch.bool)
        return canvases, *others, token, ended, *pytree.tree_leaves(self.model.start(canvases))


class _Step(nn.Module):
    """One step: whether to continue, the state of the next one, and what was predicted."""

    def __init__(self, model: EncoderDecoder, cache_spec: pytree.TreeSpec, carried: list[int], explain: bool) -> None:
        super().__init__()
        self.model, self.cache_spec, self.carried, self.explain = model, cache_spec, carried, explain

    def forward(self, token: Tensor, ended: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
        with record_attention(self.model) as attention_maps:  # which export drops unless they are returned
            logits, cache = self.model.step(token, pytree.tree_unflatten(leaves, self.cache_spec))
        logits = logits[:, -1].masked_fill(forbidden_tokens(logits.device), -torch.inf)
        token = logits.argmax(-1, keepdim=True)
        ended = ended | (token >= NUM_DIGITS)
        new_leaves, log_probs = pytree.tree_leaves(cache), logits.log_softmax(-1)
        scanned = [token.clone(), log_probs.gather(-1, token)]
        if self.explain:
            runner_up = logits.scatter(-1, token, -torch.inf).argmax(-1, keepdim=True)
            *_, attention = (weights for name, weights in attention_maps.items() if name.endswith("cross_attention"))
            scanned += [runner_up, log_probs.gather(-1, runner_up), attention[:, :, -1]]
        return ~ended.all(), token, ended, *(new_leaves[index] for index in self.carried), *scanned


def _merge_graphs(
    before: onnx.ModelProto,
    step: onnx.ModelProto,
    after: onnx.ModelProto,
    state: list[str],
    scanned: list[str],
    max_steps: int,
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """Merge three graphs: outputs of the first and of the loop are, by name, inputs of the others.

    Args:
        state: values that a step passes to the next one.
        scanned: names of what the loop returns of each step, stacked.
        outputs: of the merged graph: of the first, of the loop or of the last.
    """
    from onnx import TensorProto, checker, compose, helper

    assert not any(part.functions for part in (before, step, after)), "functions would be lost"
    assert before.opset_import == step.opset_import == after.opset_import
    keep_names = {"rename_inputs": False, "rename_outputs": False}
    before, after = (
        compose.add_prefix(part, prefix, **keep_names) for part, prefix in ((before, "before/"), (after, "after/"))
    )
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
    values = {value.name: value for part in (before, after) for value in part.graph.output}
    values["attention"] = helper.make_tensor_value_info("attention", TensorProto.FLOAT, [None] * 4)
    graph = helper.make_graph(
        [*before.graph.node, loop, *after.graph.node],
        "reader",
        before.graph.input,
        [values[name] for name in outputs],
        [*before.graph.initializer, *limits, *after.graph.initializer],
    )
    merged = helper.make_model(graph, opset_imports=before.opset_import, ir_version=before.ir_version)
    checker.check_model(merged, full_check=True)
    return merged
