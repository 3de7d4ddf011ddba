"""The arrows between the rooms run one way, and a heavy library is imported only where it is at home."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "penstock"

VALUES = {"errors", "schema", "batch"}
CONTRACTS = VALUES | {
    "statistic",
    "step",
    "source",
    "sink",
    "model",
    "engine",
    "selector",
    "masking",
    "resources",
    "durable",
    "vectors",
    "relation",
    "expression",
}
MACHINERY = {
    "registry",
    "summary",
    "fusion",
    "pipeline",
    "augmenting",
    "fitting",
    "executor",
    "run",
    "inference",
    "target",
    "keeping",
    "decision",
    "relational",
    "cleaning",
    "audit",
    "trace",
}
ROOMS: dict[str, set[str]] = {
    # a room or file -> what it may import of Penstock, besides itself
    "errors": set(),
    "schema": {"errors"},
    "batch": {"errors", "schema"},
    "statistic": VALUES,
    # inside methods: the verbs of a source, files that texts name, and the types of what `laid_down` is lent
    "source": VALUES | {"relational", "relation", "registry", "engine", "sources"},
    "relation": VALUES | {"source"},
    "relations": CONTRACTS,
    "relational": CONTRACTS | {"executor", "registry", "run", "sinks", "sources"},
    "selector": VALUES,
    "step": VALUES | {"statistic", "fusion"},  # fusion inside a method: a table step alone is a chain of one
    "sink": VALUES | {"source"},
    "engine": VALUES | {"statistic", "source", "sink", "masking"},
    "masking": {"errors"},
    "model": VALUES | {"step", "engine"},
    "resources": {"errors", "engine"},
    "durable": {"errors"},
    "registry": {"errors"},
    "vectors": VALUES,
    "expression": VALUES,
    "summary": VALUES,
    "inference": CONTRACTS,
    "statistics": CONTRACTS | {"registry"},  # one statistic may hold another, by its name
    "steps": CONTRACTS | {"statistics"},
    "sources": CONTRACTS | {"inference", "registry"},
    "sinks": CONTRACTS,
    "models": CONTRACTS | {"steps", "statistics"},
    "executor": CONTRACTS,
    "engines": CONTRACTS | {"executor"},
    "fusion": CONTRACTS,
    "pipeline": CONTRACTS | {"fusion"},
    "fitting": CONTRACTS | {"fusion", "pipeline"},
    "target": CONTRACTS | {"statistics"},
    "order": set(),
    "augmenting": CONTRACTS | {"fusion", "pipeline", "target"},
    "thumbnails": CONTRACTS | {"steps", "statistics"},
    "materialize": CONTRACTS | {"augmenting", "order", "target", "sinks"},
    "keeping": CONTRACTS,
    "cleaning": CONTRACTS | {"steps"},
    "audit": CONTRACTS | {"fusion", "pipeline", "target"},
    "decision": CONTRACTS,
    "trace": CONTRACTS,
    "run": CONTRACTS,
    "config": CONTRACTS | {"registry"},
    "artifact": CONTRACTS | MACHINERY | {"config"},
    "jobs": CONTRACTS
    | MACHINERY
    | {"config", "artifact", "materialize", "statistics", "sinks", "report", "thumbnails"},
    "report": CONTRACTS | {"artifact", "run", "summary"},
    "handle": CONTRACTS,
    "api": CONTRACTS | MACHINERY | {"config", "artifact", "jobs", "engines", "sources", "report", "handle"},
    "terminal": CONTRACTS | {"summary", "jobs", "trace"},
    "cli": CONTRACTS | MACHINERY | {"config", "api", "jobs", "terminal", "artifact", "sources", "report"},
    "testing": CONTRACTS | MACHINERY | {"statistics", "steps", "materialize"},
}
HOMES = {
    "lightgbm": {"models"},
    "sklearn": {"models"},
    "skops": {"models"},
    "torch": {"models"},
    "duckdb": {"relational", "sources"},
    "adbc_driver_sqlite": {"sources"},
    "fsspec": {"sources"},
    "typer": {"cli"},
    "rich": {"terminal", "cli", "jobs", "report"},
    "matplotlib": {"report"},
    "ruamel": {"config"},
    "pydantic": {"config"},
    "zstandard": {"sources"},
    "psutil": {"resources"},
    "tokenizers": {"steps"},
    "cv2": {"steps", "sources"},
    "simplejpeg": {"steps"},
    "av": {"steps"},
    "PIL": set(),
    "jieba": {"statistics"},
    "pandas": set(),
    "pickle": set(),
    "joblib": set(),
    "marshal": set(),
    "shelve": set(),
}


JOINED = {"config_file": "config", "config_text": "config", "config_types": "config", "terminal_tables": "terminal"}
JOINED |= dict.fromkeys(
    ("expression_tree", "expression_parser", "expression_functions", "expression_kinds"), "expression"
)
JOINED |= dict.fromkeys(("relational_link", "relational_query", "relational_run", "relational_store"), "relational")
JOINED |= {"config_schema": "config", "config_explained": "config", "config_words": "config"}
JOINED |= {"run_identity": "run", "run_inputs": "run", "failing": "executor"}
JOINED |= {"updating": "fitting"}
JOINED |= {"trace_findings": "trace", "terminal_trace": "terminal"}
JOINED |= {
    "asked": "cli",
    "commands": "cli",
    "commands_report": "cli",
    "commands_runs": "cli",
    "commands_update": "cli",
    "__main__": "cli",
    "run_identity": "run",
}


def room(name: str) -> str:
    """The room that a file or folder of this name belongs to: some rooms are several files."""
    return JOINED.get(name, name)


def room_of(path: Path) -> str:
    return room(path.relative_to(SOURCE).parts[0].removesuffix(".py"))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "penstock":
                yield from ((f"penstock.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno


FILES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_arrows_between_rooms_run_one_way(path: Path) -> None:
    here = room_of(path)
    assert here in ROOMS, f"{path.name} stands in no room: give {here!r} its place in the house"
    for module, line in imports(path):
        if not module.startswith("penstock.") or module == "penstock.__version__":
            continue
        other = room(module.split(".")[1])
        assert other == here or other in ROOMS[here], f"{path}:{line}: {here} must not import {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_heavy_library_is_imported_only_in_its_rooms(path: Path) -> None:
    for module, line in imports(path):
        name = module.split(".")[0]
        if name in HOMES:
            assert room_of(path) in HOMES[name], f"{path}:{line}: {name} is not at home in {room_of(path)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_nothing_evaluates_text_as_code(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec", "compile", "__import__"}, f"{path}:{node.lineno}"


def test_every_file_says_which_room_it_is() -> None:
    for path in SOURCE.rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), f"{path} has no docstring"


def test_no_file_has_a_name_that_says_nothing() -> None:
    for path in SOURCE.rglob("*.py"):
        assert not {"utils", "helpers", "common", "misc", "manager"} & set(path.stem.split("_")), path


def test_importing_penstock_loads_no_library() -> None:
    code = "import sys, penstock; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "pyarrow", "polars", "lightgbm", "sklearn", "pydantic", "typer", "rich"} & set(loaded)


def test_public_names_are_these_and_each_can_be_loaded() -> None:
    import penstock

    assert set(penstock.__all__) == {
        "Auto", "Bin", "BoostedTrees", "Cast", "Clip", "DateParts", "Deduplicate", "Derive", "DeriveColumns",
        "Drop", "DropMissing", "Field", "Filter", "FittedPipeline", "FlagOutliers", "FrequencyEncode",
        "Group", "Hash", "Impute", "Job",
        "Join", "JoinRows", "Linear", "MapColumns", "MergeSpellings", "MinMax", "MultiHot", "Network", "NormalizeText",
        "OneHot", "Ordinal", "PenstockError", "Pipeline", "Power", "Profile", "QuantileTransform", "RejectMissing",
        "RejectOutliers", "Rename", "RepairByMajority", "Robust", "Role", "Rolling", "Schema", "Select", "Sklearn",
        "Sort", "Standardize", "TargetEncode", "TfIdf", "Tokenize", "Validate",
        "__version__", "boolean", "categorical", "columns",
        "BlurPicture", "CropPicture", "DecodeClip", "DecodePicture", "ErasePicture", "FlipPicture", "FrameDifference",
        "GrayPicture", "JitterColor", "NormalizePicture", "PictureStep", "RandomCrop", "ResizePicture", "RotatePicture",
        "Autoencoder", "IsolationForest", "KMeans", "PCA",
        "load", "numeric", "profile", "read", "replay", "repro", "role", "text", "time",
    }  # fmt: skip
    for name in penstock.__all__:
        assert getattr(penstock, name) is not None
