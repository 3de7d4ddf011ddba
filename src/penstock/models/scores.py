"""How well rows that a model did not learn from were predicted: the few figures of a training's summary.

A job's evaluation (statistics of metrics, over any rows) is elsewhere; this is what training can say at no cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.model import Target


def held_out_scores(
    target: Target, labels: npt.NDArray[Any], predicted: npt.NDArray[np.float64]
) -> Mapping[str, float]:
    """Log loss and accuracy (and ROC AUC for two classes), or RMSE, MAE and R2; by scikit-learn.

    Args:
        target: what is predicted.
        labels: class codes or values, shape (rows,).
        predicted: probabilities, shape (rows, classes), or values, shape (rows,).

    Returns:
        Figures by name, each row with the same weight. A figure that these rows do not define (the AUC of one class) is
        left out.
    """
    from sklearn import metrics

    if target.task == "regression":
        return {
            "rmse": float(metrics.root_mean_squared_error(labels, predicted)),
            "mae": float(metrics.mean_absolute_error(labels, predicted)),
            **({"r2": float(metrics.r2_score(labels, predicted))} if len(labels) > 1 else {}),
        }
    picked = np.clip(predicted[np.arange(len(labels)), labels], np.finfo(float).eps, 1.0)
    scores = {
        "log_loss": float(-np.mean(np.log(picked))),
        "accuracy": float(np.mean(np.argmax(predicted, axis=1) == labels)),
    }
    if target.task == "binary" and len(np.unique(labels)) == 2:
        scores["roc_auc"] = float(metrics.roc_auc_score(labels, predicted[:, 1]))
    return scores
