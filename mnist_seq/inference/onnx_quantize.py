"""Store the weights of an ONNX graph in 8 bits, and its small kernels in 16; computation stays in float32.

Shapes   O output channels of a weight
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

_MIN_SIZE = 1024
"""Smaller weights stay as they are, elements."""
_HALF_KERNEL_SIZE = 2**16
"""Kernels of convolutions with fewer elements are stored in 16 bits: they come first, and errors in them spread."""
_LARGEST = 127


def quantize_weights(model: onnx.ModelProto) -> None:
    """Replace the large weights of a graph, and of its loops, by smaller ones that are converted back, in place.

    Weights of loops move to the graph itself, where they are converted once, not in every step.
    """
    from onnx import TensorProto

    stored, conversions = list[TensorProto](), []
    for graph in [model.graph, *_subgraphs(model.graph)]:
        for weight in list(graph.initializer):
            if weight.data_type != TensorProto.FLOAT or len(weight.dims) < 2 or np.prod(weight.dims) < _MIN_SIZE:
                continue
            is_half = len(weight.dims) > 2 and np.prod(weight.dims) < _HALF_KERNEL_SIZE
            tensors, conversion = _to_float16(weight) if is_half else _to_int8(weight)
            stored += tensors
            conversions.append(conversion)
            graph.initializer.remove(weight)
    model.graph.initializer.extend(stored)
    nodes = [*conversions, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _to_float16(weight: onnx.TensorProto) -> tuple[list[onnx.TensorProto], onnx.NodeProto]:
    """Convert a weight; return what is stored, and the node that makes the weight of it."""
    from onnx import TensorProto, helper, numpy_helper

    stored = numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), f"{weight.name}/float16")
    return [stored], helper.make_node("Cast", [stored.name], [weight.name], to=TensorProto.FLOAT)


def _to_int8(weight: onnx.TensorProto) -> tuple[list[onnx.TensorProto], onnx.NodeProto]:
    """As `_to_float16`, with one scale for each output channel, O."""
    from onnx import helper, numpy_helper

    values = numpy_helper.to_array(weight)
    axis = 0 if values.ndim > 2 else 1  # of kernels the first, of matrices the last
    others = tuple(index for index in range(values.ndim) if index != axis)
    scales = np.maximum(np.abs(values).max(others), 1e-12).astype(np.float32) / _LARGEST
    shape = [-1 if index == axis else 1 for index in range(values.ndim)]
    rounded = np.clip(np.round(values / scales.reshape(shape)), -_LARGEST, _LARGEST).astype(np.int8)
    names = [f"{weight.name}/int8", f"{weight.name}/scales"]
    stored = [numpy_helper.from_array(it, name) for it, name in zip((rounded, scales), names, strict=True)]
    return stored, helper.make_node("DequantizeLinear", names, [weight.name], axis=axis)


def _subgraphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    found = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return [*found, *(inner for it in found for inner in _subgraphs(it))]
