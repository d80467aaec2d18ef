"""Suite step_profile: each operation counts once, under its kind."""

from __future__ import annotations

import pytest
import torch

from mnist_seq.benchmarks import step_profile


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::mm", "matrix products"),
        ("aten::convolution_backward", "matrix products"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention kernel"),
        ("aten::_softmax_backward_data", "softmax"),
        ("aten::native_layer_norm_backward", "norms"),
        ("aten::gelu", "activations"),
        ("aten::_fused_adamw_", "optimizer and clipping"),
        ("aten::copy_", "casts and copies"),
        ("aten::sum", "sums for biases and embeddings"),
        ("aten::cumsum", "other operations"),
        ("aten::add_", "other operations"),
    ],
)
def test_operations_have_the_kind_of_their_name(operation: str, kind: str) -> None:
    assert step_profile.kind_of(operation) == kind


def test_time_of_a_product_is_that_of_products() -> None:
    matrix = torch.randn(500, 500)
    milliseconds = step_profile._profile(lambda: [matrix @ matrix for _ in range(50)], "cpu")
    total = sum(milliseconds.values())
    assert milliseconds["matrix products"] > total / 2
    assert milliseconds["attention kernel"] == milliseconds["norms"] == 0
