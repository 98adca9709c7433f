"""The optimisation."""

from typing import Literal

from pydantic import Field

from ceph_core.config.base import Frozen


class TrainConfig(Frozen):
    """AdamW with a linear warm-up and a cosine to zero, EMA weights for evaluation."""

    epochs: int = Field(250, ge=1, le=10_000, json_schema_extra={"unit": "epochs"}, description="length of the whole run, epochs")
    batch_size: int = Field(6, ge=1, le=512, json_schema_extra={"unit": "films"}, description="films a step (of the last stage)")
    micro_batch: int | None = Field(
        None,
        ge=1,
        le=512,
        json_schema_extra={"unit": "films"},
        description="films on the device at once; gradients are accumulated to batch_size (unset: batch_size)",
    )
    checkpoint_activations: bool = Field(
        False, description="keep a stage's inputs alone and compute it again for the gradient: a third more time, half the memory or less"
    )
    lr: float = Field(5e-4, gt=0, le=1, json_schema_extra={"unit": "learning rate"}, description="peak learning rate of AdamW")
    weight_decay: float = Field(1e-2, ge=0, le=1, json_schema_extra={"unit": "decay"}, description="AdamW's decoupled weight decay")
    warmup_epochs: float | None = Field(
        None,
        ge=0,
        json_schema_extra={"unit": "epochs"},
        description="linear warm-up, epochs (unset: 5, or 10 beyond 300 epochs, but never over a tenth of the run)",
    )
    clip_norm: float = Field(1.0, gt=0, json_schema_extra={"unit": "norm"}, description="gradient norm is clipped here")
    ema_decay: float = Field(
        0.999,
        ge=0,
        lt=1,
        json_schema_extra={"unit": "decay a step"},
        description="decay of the averaged weights that are evaluated; 0 evaluates the raw weights",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 on a GPU or CPU that computes in it, else fp16 with a loss scaler on a GPU, fp32 on a CPU"
    )
    channels_last: bool = Field(True, description="NHWC memory format")
    compile: bool | Literal["auto"] = Field(
        "auto", description="torch.compile the network; auto: on a GPU, in runs of at least 20,000 steps a film size; never on a CPU"
    )
    cuda_graphs: bool = Field(
        True, description="on a GPU, launch each step as one CUDA graph (not in fp16, nor while activations are checkpointed)"
    )
    validations: int = Field(
        50,
        ge=1,
        le=10_000,
        json_schema_extra={"unit": "validations"},
        description="validations of a run, spread evenly over its epochs; rungs and the last epoch have theirs besides",
    )
    snapshots: int = Field(
        0,
        ge=0,
        le=20,
        json_schema_extra={"unit": "snapshots"},
        description="best averaged weights of the last stage that are kept, 1/25 of the run apart, to be averaged at the end (guide: 3-5)",
    )
    workers: int | None = Field(
        None,
        ge=0,
        le=64,
        json_schema_extra={"unit": "processes"},
        description="loader processes (unset: none on a CPU, up to 4 beside a GPU)",
    )
    stop_hopeless: bool = Field(
        False, description="stop a run that will come to nothing: it collapsed, or is not better than the mean shape after a fifth of it"
    )
    seed: int = Field(0, ge=0, lt=2**31, json_schema_extra={"unit": "seed"}, description="seed of weights, order and augmentation")

    def resolved_warmup(self) -> float:
        """Epochs of linear warm-up: the guide's 5 (10 beyond 300), capped at a tenth of a short run."""
        if self.warmup_epochs is not None:
            return self.warmup_epochs
        return min(10.0 if self.epochs > 300 else 5.0, self.epochs / 10)
