"""How a network is trained: frozen data, JSON both ways, contradictions refused early."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from netwright.core.frozen import Frozen
from netwright.train.precision import Precision


class Layer(Frozen):
    """How some layers are trained differently.

    Args:
        rate: factor on the learning rate; 0 leaves the layer as it is.
        weight_decay: its decay; None for the usual one.
    """

    rate: float = Field(default=1.0, ge=0)
    weight_decay: float | None = Field(default=None, ge=0)


class Training(Frozen):
    """Settings of one training.

    Args:
        epochs: passes over the training rows, at most.
        batch_size: rows a step.
        optimizer: an entry of OPTIMIZERS. momentum: of "sgd" and "nesterov"; None for the 0.9 that is usual.
        learning_rate: the peak of the schedule.
        schedule: an entry of SCHEDULES.
        halve_every: epochs after which the schedule "step" halves the rate.
        cycles: falls of the schedule "multi-cycle", each of whole epochs, so at most one an epoch.
        warmup: steps over which the rate rises linearly ("one-cycle" has its own rise).
        weight_decay: decay of weight matrices (biases, norms and embeddings are left alone); decoupled from the gradient in
            "adamw", "nadam", "radam" and "adafactor", added to it in the others.
        clip_norm: largest gradient norm; None for no clipping.
        layers: for parameters by name (patterns such as "front" or "body.blocks.*.weight"; the first that fits) another rate or decay.
        accumulate: equal parts that a batch is cut into, one after the other, whose gradients are added: a large batch in little
            memory.
        average: decay of the moving average of weights; "swa" for the mean of the last quarter of the epochs; "snapshots" for an
            ensemble of the weights at the end of each of the `cycles`; None for none.
        patience: epochs without a better validation metric after which to stop; None never stops early.
        stop_error: stop when the training error is at most this; None never.
        channels_last: whether weights of convolutions, and so all maps, are laid out with channels last.
        compiled: whether steps are compiled, which takes half a minute and pays for small networks that are trained for long; where
            that is not possible the training is done without and says why.
        precision: of convolutions and matrix products in training, forwards and backwards; weights, the loss and all
            evaluation are in float32. "bfloat16" pays where the processor computes it by itself.
        device: where it is computed: "cpu", an accelerator such as "cuda" or "mps", or "auto" for one where there is one. The
            trained network comes back to the processor.
    """

    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=256, ge=1)
    optimizer: str = "adamw"
    momentum: float | None = Field(default=None, gt=0, lt=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    schedule: Literal["constant", "cosine", "one-cycle", "step", "multi-cycle"] = "cosine"
    halve_every: int = Field(default=3, ge=1)
    cycles: int = Field(default=4, ge=1)
    warmup: int = Field(default=50, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float | None = Field(default=1.0, gt=0)
    layers: dict[str, Layer] = {}
    accumulate: int = Field(default=1, ge=1)
    average: Annotated[float, Field(gt=0, lt=1)] | Literal["swa", "snapshots"] | None = None
    patience: int | None = Field(default=None, ge=1)
    stop_error: float | None = Field(default=None, ge=0)
    channels_last: bool = False
    compiled: bool = False
    precision: Precision = "float32"
    device: str = "cpu"

    @model_validator(mode="after")
    def _patience_within_epochs(self) -> Self:
        if self.patience is not None and self.stop_error is not None:
            raise ValueError(
                "patience stops at the best validation metric, stop_error at the training error: give one of them"
            )
        return self

    @model_validator(mode="after")
    def _parts_that_make_up_the_batch(self) -> Self:
        if self.batch_size % self.accumulate:
            nearest = max(n for n in range(1, self.accumulate) if self.batch_size % n == 0)
            raise ValueError(
                f"a batch of {self.batch_size} rows cannot be cut into equal parts, as accumulate is {self.accumulate}; "
                f"take accumulate={nearest}, or a batch_size that is a multiple of {self.accumulate}"
            )
        return self

    def parts(self, rows: int) -> tuple[int, int]:
        """Into how many parts a batch is cut where there are so many rows, and the rows of each: none is larger than one of a whole
        batch.

        >>> Training(batch_size=256, accumulate=4).parts(1000), Training(batch_size=256, accumulate=4).parts(100)
        ((4, 64), (2, 50))
        """
        size = min(self.batch_size, rows)
        parts = -(-size // (self.batch_size // self.accumulate))
        return parts, size // parts

    @model_validator(mode="after")
    def _momentum_of_an_optimizer_that_has_it(self) -> Self:
        if self.momentum is not None and self.optimizer not in ("sgd", "nesterov"):
            raise ValueError(f"momentum is of the optimizers sgd and nesterov; {self.optimizer} has none to set")
        return self
