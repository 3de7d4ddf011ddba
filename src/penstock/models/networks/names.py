"""Names of losses, activations, optimizers and schedules, without torch: what a definition is checked against."""

from __future__ import annotations

ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid")
OPTIMIZERS = ("adamw", "adam", "sgd", "rmsprop", "adagrad")
SCHEDULES = ("constant", "step", "cosine", "warm_restarts", "one_cycle", "plateau", "restart_on_plateau")
CLASS_LOSSES = ("cross_entropy", "focal")
VALUE_LOSSES = ("squared_error", "absolute_error", "huber")
