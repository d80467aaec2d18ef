"""Store the weights of an ONNX graph in 8 bits. They are computed with in float32, as before.

Shapes   O output channels of a weight
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

_MIN_SIZE = 1024
"""Smaller weights stay as they are, elements."""
_LARGEST = 127


def quantize_weights(model: onnx.ModelProto) -> None:
    """Replace the large weights of a graph, and of its loops, by int8 and one scale for each output channel, in place.

    Weights of loops move to the graph itself, where they are converted once, not in every step.
    """
    from onnx import TensorProto, helper, numpy_helper

    conversions, weights = [], []
    for graph in [model.graph, *_subgraphs(model.graph)]:
        for weight in list(graph.initializer):
            values = numpy_helper.to_array(weight)
            if weight.data_type != TensorProto.FLOAT or values.ndim < 2 or values.size < _MIN_SIZE:
                continue
            axis = 0 if values.ndim > 2 else 1  # of kernels the first, of matrices the last
            others = tuple(index for index in range(values.ndim) if index != axis)
            scales = np.maximum(np.abs(values).max(others), 1e-12).astype(np.float32) / _LARGEST
            shape = [-1 if index == axis else 1 for index in range(values.ndim)]
            rounded = np.clip(np.round(values / scales.reshape(shape)), -_LARGEST, _LARGEST).astype(np.int8)
            names = [f"{weight.name}/int8", f"{weight.name}/scales"]
            weights += [numpy_helper.from_array(it, name) for it, name in zip((rounded, scales), names, strict=True)]
            conversions.append(helper.make_node("DequantizeLinear", names, [weight.name], axis=axis))
            graph.initializer.remove(weight)
    model.graph.initializer.extend(weights)
    nodes = [*conversions, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _subgraphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    found = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return [*found, *(inner for it in found for inner in _subgraphs(it))]
