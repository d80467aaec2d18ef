"""Evaluation stands below training and reporting."""

from __future__ import annotations

import subprocess
import sys

MODULES = ("evaluator", "eval_result", "significance", "hard_examples", "release_check")
FORBIDDEN = ("lightning", "hydra", "omegaconf", "matplotlib", "mnist_seq.training", "mnist_seq.reporting")


def test_evaluation_loads_neither_training_nor_plotting() -> None:
    """Transitively, in a process of its own."""
    statements = [f"import mnist_seq.evaluation.{module}" for module in MODULES]
    code = "\n".join([*statements, "import sys", "print(*sys.modules)"])
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {f"mnist_seq.evaluation.{module}" for module in MODULES} <= set(loaded)
    assert not [name for name in loaded if name.startswith(FORBIDDEN)]
