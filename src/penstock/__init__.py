"""Penstock: batch-first machine learning, from files and streams to a trusted model and its predictions.

The public names, loaded when they are first used, so that ``import penstock`` costs next to nothing.

Example:
    >>> import penstock as ps
    >>> ps.Standardize(ps.numeric())
    Standardize(columns=Selector(patterns=('numeric',), excluded=()))
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES: dict[str, str] = {
    **dict.fromkeys(("FittedPipeline", "Pipeline", "load", "profile", "read", "replay", "repro"), "penstock.api"),
    **dict.fromkeys(("boolean", "categorical", "columns", "numeric", "role", "text", "time"), "penstock.selector"),
    **dict.fromkeys(("Field", "Role", "Schema"), "penstock.schema"),
    **dict.fromkeys(("PenstockError",), "penstock.errors"),
    **dict.fromkeys(("Job",), "penstock.handle"),
    **dict.fromkeys(("Profile",), "penstock.jobs.profile"),
    **dict.fromkeys(("Impute",), "penstock.steps.impute"),
    **dict.fromkeys(("Clip", "FlagOutliers", "RejectOutliers"), "penstock.steps.outliers"),
    **dict.fromkeys(("MinMax", "Robust", "Standardize"), "penstock.steps.scale"),
    **dict.fromkeys(("OneHot", "Ordinal"), "penstock.steps.encode"),
    **dict.fromkeys(("Bin",), "penstock.steps.bins"),
    **dict.fromkeys(("FrequencyEncode",), "penstock.steps.frequency_encode"),
    **dict.fromkeys(("Power",), "penstock.steps.power"),
    **dict.fromkeys(("QuantileTransform",), "penstock.steps.quantile_transform"),
    **dict.fromkeys(("Cast", "Drop", "Rename", "Select"), "penstock.steps.columns"),
    **dict.fromkeys(("DateParts",), "penstock.steps.dates"),
    **dict.fromkeys(("Derive",), "penstock.steps.derive"),
    **dict.fromkeys(("DropMissing", "RejectMissing"), "penstock.steps.missing"),
    **dict.fromkeys(("Validate",), "penstock.steps.validate"),
    **dict.fromkeys(("NormalizeText",), "penstock.steps.text"),
    **dict.fromkeys(("MergeSpellings",), "penstock.steps.spellings"),
    **dict.fromkeys(("RepairByMajority",), "penstock.steps.majority"),
    **dict.fromkeys(("TargetEncode",), "penstock.steps.target_encode"),
    **dict.fromkeys(("Hash", "MultiHot", "TfIdf"), "penstock.steps.tokens"),
    **dict.fromkeys(("Tokenize",), "penstock.steps.tokenize"),
    **dict.fromkeys(("DecodeClip",), "penstock.steps.clips"),
    **dict.fromkeys(("DecodePicture",), "penstock.steps.pictures_decode"),
    **dict.fromkeys(("PictureStep",), "penstock.steps.pictures_columns"),
    **dict.fromkeys(
        ("CropPicture", "FlipPicture", "RandomCrop", "ResizePicture", "RotatePicture"),
        "penstock.steps.pictures_geometry",
    ),
    **dict.fromkeys(("GrayPicture", "JitterColor"), "penstock.steps.pictures_color"),
    **dict.fromkeys(("NormalizePicture",), "penstock.steps.pictures_normalize"),
    **dict.fromkeys(("BlurPicture", "ErasePicture", "FrameDifference"), "penstock.steps.pictures_filter"),
    **dict.fromkeys(("Auto",), "penstock.model"),
    **dict.fromkeys(("Deduplicate",), "penstock.relations.deduplicate"),
    **dict.fromkeys(("DeriveColumns",), "penstock.relations.derive"),
    **dict.fromkeys(("Join",), "penstock.relations.join"),
    **dict.fromkeys(("JoinRows",), "penstock.relations.join_rows"),
    **dict.fromkeys(("Sort",), "penstock.relations.sort"),
    **dict.fromkeys(("Filter",), "penstock.relations.filter"),
    **dict.fromkeys(("Group",), "penstock.relations.group"),
    **dict.fromkeys(("Rolling",), "penstock.relations.rolling"),
    **dict.fromkeys(("MapColumns",), "penstock.relations.columns"),
    **dict.fromkeys(("BoostedTrees",), "penstock.models.boosted"),
    **dict.fromkeys(("Linear",), "penstock.models.linear"),
    **dict.fromkeys(("Network",), "penstock.models.network"),
    **dict.fromkeys(("Sklearn",), "penstock.models.sklearn_model"),
    **dict.fromkeys(("KMeans",), "penstock.models.clusters"),
    **dict.fromkeys(("PCA",), "penstock.models.components"),
    **dict.fromkeys(("IsolationForest",), "penstock.models.isolation_forest"),
    **dict.fromkeys(("Autoencoder",), "penstock.models.autoencoder"),
}

__all__ = ["__version__", *sorted(_HOMES)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'penstock' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
