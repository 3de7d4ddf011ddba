"""Names in a pipeline file or an artifact -> the definitions they stand for. A closed list, found lazily.

Data is never code: a name that is not here (or registered by an installed package under the entry-point groups
``penstock.steps``, ``penstock.models``, ``penstock.relations``, ``penstock.statistics``, ``penstock.sources``) is
refused; nothing is ever imported from a path that a file names.
"""

from __future__ import annotations

import difflib
import importlib
from dataclasses import MISSING, fields
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from penstock.errors import UsageError

_BUILT_IN: dict[str, dict[str, str]] = {
    "statistics": {
        "count": "penstock.statistics.count:Count",
        "moments": "penstock.statistics.moments:Moments",
        "histogram": "penstock.statistics.histogram:Histogram",
        "frequencies": "penstock.statistics.frequencies:Frequencies",
        "bounded_frequencies": "penstock.statistics.bounded_frequencies:BoundedFrequencies",
        "distinct": "penstock.statistics.distinct:Distinct",
        "correlation": "penstock.statistics.correlation:Correlation",
        "lengths": "penstock.statistics.lengths:Lengths",
        "calendar": "penstock.statistics.calendar:Calendar",
        "duplicates": "penstock.statistics.duplicates:Duplicates",
        "sample": "penstock.statistics.sample:Sample",
        "classification": "penstock.statistics.classification:Classification",
        "regression": "penstock.statistics.regression:Regression",
        "changes": "penstock.audit:Changes",
        "target_counts": "penstock.statistics.target_folds:TargetCounts",
        "target_moments": "penstock.statistics.target_folds:TargetMoments",
        "document_frequencies": "penstock.statistics.documents:DocumentFrequencies",
        "sliced": "penstock.statistics.sliced:Sliced",
        "grouped_means": "penstock.statistics.grouped:GroupedMeans",
        "grouped_histograms": "penstock.statistics.grouped:GroupedHistograms",
        "grouped_frequencies": "penstock.statistics.grouped_frequencies:GroupedFrequencies",
        "mistakes": "penstock.statistics.mistakes:Mistakes",
        "picture_sizes": "penstock.statistics.picture_sizes:PictureSizes",
        "channel_moments": "penstock.statistics.channel_moments:ChannelMoments",
    },
    "steps": {
        "impute": "penstock.steps.impute:Impute",
        "clip": "penstock.steps.outliers:Clip",
        "flag_outliers": "penstock.steps.outliers:FlagOutliers",
        "reject_outliers": "penstock.steps.outliers:RejectOutliers",
        "standardize": "penstock.steps.scale:Standardize",
        "min_max": "penstock.steps.scale:MinMax",
        "robust": "penstock.steps.scale:Robust",
        "power": "penstock.steps.power:Power",
        "quantile_transform": "penstock.steps.quantile_transform:QuantileTransform",
        "bin": "penstock.steps.bins:Bin",
        "frequency_encode": "penstock.steps.frequency_encode:FrequencyEncode",
        "one_hot": "penstock.steps.encode:OneHot",
        "ordinal": "penstock.steps.encode:Ordinal",
        "select": "penstock.steps.columns:Select",
        "drop": "penstock.steps.columns:Drop",
        "cast": "penstock.steps.columns:Cast",
        "normalize_text": "penstock.steps.text:NormalizeText",
        "merge_spellings": "penstock.steps.spellings:MergeSpellings",
        "repair_by_majority": "penstock.steps.majority:RepairByMajority",
        "target_encode": "penstock.steps.target_encode:TargetEncode",
        "tfidf": "penstock.steps.tokens:TfIdf",
        "hash": "penstock.steps.tokens:Hash",
        "multi_hot": "penstock.steps.tokens:MultiHot",
        "tokenize": "penstock.steps.tokenize:Tokenize",
        "decode_picture": "penstock.steps.pictures_decode:DecodePicture",
        "decode_clip": "penstock.steps.clips:DecodeClip",
        "resize_picture": "penstock.steps.pictures_geometry:ResizePicture",
        "crop_picture": "penstock.steps.pictures_geometry:CropPicture",
        "random_crop": "penstock.steps.pictures_geometry:RandomCrop",
        "flip_picture": "penstock.steps.pictures_geometry:FlipPicture",
        "rotate_picture": "penstock.steps.pictures_geometry:RotatePicture",
        "jitter_color": "penstock.steps.pictures_color:JitterColor",
        "gray_picture": "penstock.steps.pictures_color:GrayPicture",
        "normalize_picture": "penstock.steps.pictures_normalize:NormalizePicture",
        "blur_picture": "penstock.steps.pictures_filter:BlurPicture",
        "erase_picture": "penstock.steps.pictures_filter:ErasePicture",
        "frame_difference": "penstock.steps.pictures_filter:FrameDifference",
        "rename": "penstock.steps.columns:Rename",
        "derive": "penstock.steps.derive:Derive",
        "date_parts": "penstock.steps.dates:DateParts",
        "drop_missing": "penstock.steps.missing:DropMissing",
        "reject_missing": "penstock.steps.missing:RejectMissing",
        "validate": "penstock.steps.validate:Validate",
    },
    "models": {
        "auto": "penstock.model:Auto",
        "boosted": "penstock.models.boosted:BoostedTrees",
        "linear": "penstock.models.linear:Linear",
        "network": "penstock.models.network:Network",
        "sklearn": "penstock.models.sklearn_model:Sklearn",
        "kmeans": "penstock.models.clusters:KMeans",
        "pca": "penstock.models.components:PCA",
        "isolation_forest": "penstock.models.isolation_forest:IsolationForest",
        "autoencoder": "penstock.models.autoencoder:Autoencoder",
    },
    "fitted_models": {
        "boosted": "penstock.models.boosted:FittedBoostedTrees",
        "linear": "penstock.models.linear:FittedLinear",
        "network": "penstock.models.network_fitted:FittedNetwork",
        "sklearn": "penstock.models.sklearn_model:FittedSklearn",
        "kmeans": "penstock.models.clusters:FittedKMeans",
        "pca": "penstock.models.components:FittedPCA",
        "isolation_forest": "penstock.models.isolation_forest:FittedIsolationForest",
        "autoencoder": "penstock.models.autoencoder_fitted:FittedAutoencoder",
    },
    "relations": {
        "deduplicate": "penstock.relations.deduplicate:Deduplicate",
        "derive": "penstock.relations.derive:DeriveColumns",
        "join": "penstock.relations.join:Join",
        "join_rows": "penstock.relations.join_rows:JoinRows",
        "sort": "penstock.relations.sort:Sort",
        "filter": "penstock.relations.filter:Filter",
        "group": "penstock.relations.group:Group",
        "rolling": "penstock.relations.rolling:Rolling",
        "map_columns": "penstock.relations.columns:MapColumns",
    },
    "sources": {
        ".csv": "penstock.sources.csv:CsvSource",
        ".tsv": "penstock.sources.csv:CsvSource",
        ".txt": "penstock.sources.csv:CsvSource",
        ".data": "penstock.sources.csv:CsvSource",
        ".parquet": "penstock.sources.parquet:ParquetSource",
        ".pq": "penstock.sources.parquet:ParquetSource",
        ".arrow": "penstock.sources.arrow:ArrowSource",
        ".feather": "penstock.sources.arrow:ArrowSource",
        ".ipc": "penstock.sources.arrow:ArrowSource",
        ".jsonl": "penstock.sources.json:JsonSource",
        ".ndjson": "penstock.sources.json:JsonSource",
        ".json": "penstock.sources.json:JsonSource",
        ".sqlite": "penstock.sources.sqlite:SqliteSource",
        ".sqlite3": "penstock.sources.sqlite:SqliteSource",
        ".db": "penstock.sources.sqlite:SqliteSource",
        ".idx": "penstock.sources.idx:IdxSource",
        ".bin": "penstock.sources.cifar:CifarSource",
        ".npz": "penstock.sources.npz:NpzSource",
        ".tar": "penstock.sources.tar_shards:TarSource",
        "picture": "penstock.sources.picture_files:PictureFiles",
        "clip": "penstock.sources.picture_files:ClipFiles",
        "text": "penstock.sources.picture_files:TextFiles",
    },
    "schemes": {
        "-": "penstock.sources.standard_input:open_standard_input",
        "sql": "penstock.sources.sql:open_sql",
        "sqlite": "penstock.sources.sqlite:open_sqlite",
        "file": "penstock.sources.addresses:open_local",
        "http": "penstock.sources.remote:open_remote",
        "https": "penstock.sources.remote:open_remote",
        "s3": "penstock.sources.remote:open_remote",
        "gs": "penstock.sources.remote:open_remote",
        "gcs": "penstock.sources.remote:open_remote",
        "az": "penstock.sources.remote:open_remote",
        "abfs": "penstock.sources.remote:open_remote",
        "abfss": "penstock.sources.remote:open_remote",
        "hdfs": "penstock.sources.remote:open_remote",
        "memory": "penstock.sources.remote:open_remote",
    },
}


@cache
def names(group: str) -> tuple[str, ...]:
    """The names of a group, sorted."""
    return tuple(sorted({*_BUILT_IN[group], *(point.name for point in entry_points(group=f"penstock.{group}"))}))


@cache
def find(group: str, name: str) -> Any:
    """The definition of this name.

    Raises:
        UsageError: there is none; the message gives the nearest.
    """
    if name in _BUILT_IN[group]:
        module, _, attribute = _BUILT_IN[group][name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    for point in entry_points(group=f"penstock.{group}", name=name):
        return point.load()
    known = names(group)
    near = difflib.get_close_matches(name, known, n=1)
    raise UsageError(
        f"no {group.removesuffix('s').replace('_', ' ')} of this name",
        expected="one of " + ", ".join(known),
        got=repr(name),
        remedy=f"did you mean {near[0]!r}?" if near else "",
    )


def model_named(text: str) -> Any:
    """A model with its defaults, as it is named after ``--model``: ``boosted``, or ``sklearn:random_forest``.

    What stands after the colon is the model's first setting; where it is a number, that number.

    Raises:
        UsageError: there is none of this name, or it does not take this setting.

    Example:
        >>> model_named("boosted").name
        'boosted'
        >>> model_named("kmeans:4").clusters
        4
    """
    name, colon, setting = text.partition(":")
    definition = find("models", name)
    first = next((item for item in fields(definition) if item.default is MISSING), None)
    if first is not None and first.default_factory is MISSING and not colon:
        raise UsageError(f"the model {name!r} needs its {first.name}", got=text, remedy=f"write {name}:NAME")
    return definition(_number(setting)) if colon else definition()


def _number(setting: str) -> str | int | float:
    try:
        return int(setting)
    except ValueError:
        pass
    try:
        return float(setting)
    except ValueError:
        return setting
