"""Optimizer, loss and trainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from mnist_seq.config.field_types import Below1, Fraction, NonNegativeInt, PositiveFloat, PositiveInt, at_least, one_of
from mnist_seq.config.validation import Validated, check

OPTIMIZERS = ("adamw", "muon")
SCHEDULES = ("linear", "cosine", "constant", "wsd")
NOT_LIGHTNING = ("preset", "matmul_precision", "compile", "threads")
"""Trainer keys that are not arguments of Lightning's Trainer."""
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true", "32", "bf16", "16", "64")
"""Lightning's precisions that can train here, and `auto`; saved weights are float32."""
MATMUL_PRECISIONS = ("auto", "highest", "high", "medium")
LOSSES = ("cross_entropy", "multiset")


@dataclass
class OptimConfig(Validated):
    """AdamW (Loshchilov & Hutter 2019), alone or with Muon; norms, biases, positions and embeddings get no
    weight decay."""

    key_prefix = "optim."

    name: Annotated[str, one_of(OPTIMIZERS)] = "adamw"
    """Optimizer: `adamw`, or `muon` (Jordan et al. 2024) for the matrices of the blocks and AdamW for the rest."""
    lr: PositiveFloat = 2e-3
    """Peak learning rate, above 0."""
    weight_decay: Annotated[float, at_least(0)] = 0.05
    """Decoupled weight decay, at least 0."""
    betas: tuple[float, ...] = (0.9, 0.98)
    """Decay rates of AdamW's two moments, each 0 or more and below 1."""
    momentum: Below1 = 0.95
    """Momentum of Muon, 0 or more and below 1."""
    warmup_steps: NonNegativeInt = 100
    """Steps of linear warm-up."""
    schedule: Annotated[str, one_of(SCHEDULES)] = "linear"
    """Learning rate after the warm-up: `linear` or `cosine` decay to final_lr_ratio, `constant`, or `wsd`, constant and
    then linear decay (Hägele et al. 2024)."""
    decay_fraction: Fraction = 0.3
    """Fraction of all steps in which `wsd` decays, 0..1."""
    final_lr_ratio: Fraction = 0.0
    """Learning rate after the decay, as a fraction of the peak, 0..1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(len(self.betas) == 2, f"optim.betas={[*self.betas]} must be two numbers: optim.betas=[0.9,0.98]")
        self.betas = (self.betas[0], self.betas[1])
        check(all(0 <= beta < 1 for beta in self.betas), f"optim.betas={self.betas} must lie in 0..1")


@dataclass
class LossConfig(Validated):
    """Training loss."""

    key_prefix = "loss."

    name: Annotated[str, one_of(LOSSES)] = "cross_entropy"
    """`cross_entropy`, or `multiset`: any digit that is still missing is a correct next one (Welleck et al. 2018)."""
    label_smoothing: Below1 = 0.05
    """Target probability that is spread over all classes, 0 or more and below 1 (Szegedy et al. 2016)."""
    shuffle: bool = False
    """Train on the digits in a new random order each time; `multiset` always does."""


@dataclass
class TrainerConfig(Validated):
    """Arguments of Lightning's Trainer; its other arguments pass through, as `+trainer.profiler=simple`.

    training/trainer_checks.py lists the few that have no effect here and are refused. null means the value of the
    preset that `trainer=auto` picks, or else Lightning's default.
    """

    key_prefix = "trainer."

    preset: str = "auto"
    """Name of this preset; `auto` picks cpu, gpu or mps by the hardware when a run starts."""
    max_steps: PositiveInt | None = None
    """Optimizer steps."""
    accelerator: Annotated[str, one_of(ACCELERATORS)] | None = None
    """Device: auto, cpu, gpu, cuda or mps."""
    devices: PositiveInt | None = None
    """Devices per node."""
    num_nodes: PositiveInt | None = None
    """Machines."""
    strategy: str | None = None
    """Strategy for several devices: `ddp` or `auto`, which is the same; each takes data.batch_size scenes per step."""
    precision: Annotated[str, one_of(PRECISIONS)] | None = None
    """Lightning's precision: 32-true, bf16-mixed, ...; `auto` uses bf16-mixed on a GPU or CPU with bfloat16
    instructions, and 32-true elsewhere."""
    matmul_precision: Annotated[str, one_of(MATMUL_PRECISIONS)] | None = None
    """torch's precision of float32 matrix products: highest, high or medium; `auto` uses medium, which may round
    factors to bfloat16, with `precision=32-true` on a CPU with bfloat16 instructions."""
    compile: bool | None = None
    """Compile the forward pass with torch.compile; on CUDA with CUDA graphs, unless gradients are accumulated."""
    val_check_interval: PositiveInt | None = None
    """Batches between validations, a multiple of accumulate_grad_batches; each validation writes a checkpoint."""
    log_every_n_steps: PositiveInt | None = None
    """Steps between rows of metrics.csv."""
    gradient_clip_val: float | None = None
    """Largest gradient norm; 0 does not clip."""
    threads: PositiveInt | None = None
    """CPU threads of torch; null means OMP_NUM_THREADS, or else the number of cores that are idle when the run starts,
    within the process's affinity and its container's quota. A resumed run keeps its number. With several devices, null
    means OMP_NUM_THREADS or all of these cores."""

    def __post_init__(self) -> None:
        check(
            self.precision != "16-true",
            "trainer.precision=16-true diverges, since float16 cannot hold squared gradients: "
            "choose bf16-true, or 16-mixed on a GPU",
        )
        super().__post_init__()
        clip = self.gradient_clip_val
        check(clip is None or clip >= 0, f"trainer.gradient_clip_val={clip} must be above 0, or 0 for none")

    @property
    def world_size(self) -> int:
        """Number of processes that train together."""
        return (self.devices or 1) * (self.num_nodes or 1)

    def lightning_kwargs(self) -> dict[str, Any]:
        """The arguments for Lightning's Trainer: all keys that are set, except ours."""
        return {key: value for key, value in vars(self).items() if value is not None and key not in NOT_LIGHTNING}
