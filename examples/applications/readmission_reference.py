"""What other libraries make of the same rows: python examples/applications/readmission_reference.py LEARN.csv JUDGE.csv

The files are those of docs/applications/readmission.md. LightGBM and scikit-learn alone, no Penstock: the same rows are
left out, the diagnoses grouped in the same way. No setting was chosen by what is judged.
"""

import sys

import lightgbm
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

GONE = ["11", "13", "14", "19", "20", "21"]
GROUPS = [
    ("diabetes", (250, 250), None), ("circulatory", (390, 459), 785), ("respiratory", (460, 519), 786),
    ("digestive", (520, 579), 787), ("genitourinary", (580, 629), 788), ("neoplasms", (140, 239), None),
    ("musculoskeletal", (710, 739), None), ("injury", (800, 999), None),
]  # fmt: skip
COUNTS = ["time_in_hospital", "num_lab_procedures", "num_procedures", "num_medications", "number_outpatient",
          "number_emergency", "number_inpatient", "number_diagnoses"]  # fmt: skip
SETTINGS = {"n_estimators": 120, "learning_rate": 0.07, "num_leaves": 15, "min_child_samples": 100, "cat_smooth": 50}


def read(path: str) -> pd.DataFrame:
    """The rows of patients who left alive; texts, `?` missing."""
    rows = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=["?"])
    return rows[~rows["discharge_disposition_id"].isin(GONE)].reset_index(drop=True)


def grouped(codes: pd.Series) -> pd.Series:
    """Diagnoses as the groups of Strack et al."""
    number = np.floor(pd.to_numeric(codes, errors="coerce"))
    found = pd.Series("other", codes.index).where(codes.notna())
    for name, (low, high), one in GROUPS:
        found[number.between(low, high) | (number == one)] = name
    return found


def features(learn: pd.DataFrame, judge: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Counts as numbers, all else as categories of the rows to learn from."""
    made = []
    left_out = {"encounter_id", "patient_nbr", "readmitted"}
    for rows in (learn, judge):
        columns = {}
        for name in learn.columns:
            if name in left_out:
                continue
            values = grouped(rows[name]) if name.startswith("diag_") else rows[name]
            if name in COUNTS:
                columns[name] = values.astype(float)
            else:
                known = grouped(learn[name]) if name.startswith("diag_") else learn[name]
                kinds = sorted(known.dropna().unique())
                columns[name] = pd.Categorical(values.where(values.isin(kinds)), kinds)
        made.append(pd.DataFrame(columns))
    return made[0], made[1]


def target(rows: pd.DataFrame) -> np.ndarray:
    """1 for those who came back within thirty days."""
    return (rows["readmitted"] == "<30").to_numpy().astype(int)


def interval(truth: np.ndarray, said: np.ndarray, patients: np.ndarray) -> str:
    """The ROC AUC's 95 % interval: patients drawn again, not rows, 400 times."""
    random = np.random.default_rng(0)
    _, patient = np.unique(patients, return_inverse=True)
    order = np.argsort(said, kind="stable")
    truth, patient = truth[order], patient[order]
    drawn = []
    for _ in range(400):
        times = np.bincount(random.integers(0, patient.max() + 1, patient.max() + 1), minlength=patient.max() + 1)
        weight = times[patient]
        negatives = np.cumsum(weight * (1 - truth))
        drawn.append((weight * truth * negatives).sum() / (weight * truth).sum() / negatives[-1])
    return "{:.3f} to {:.3f}".format(*np.quantile(drawn, [0.025, 0.975]))


def compare(learn: pd.DataFrame, judge: pd.DataFrame) -> None:
    """Three models on the judged rows."""
    x, judged = features(learn, judge)
    y, truth = target(learn), target(judge)
    one_hot = OneHotEncoder(handle_unknown="ignore", min_frequency=50)
    texts, tests = (part.astype(str) for part in (x, judged))
    models = {
        "LightGBM": (lightgbm.LGBMClassifier(**SETTINGS, random_state=0, n_jobs=1, verbose=-1), x, judged),
        "scikit-learn, HistGradientBoosting": (
            HistGradientBoostingClassifier(
                max_iter=120, learning_rate=0.07, max_leaf_nodes=15, min_samples_leaf=100, random_state=0,
                categorical_features="from_dtype", early_stopping=False,
            ), x, judged,
        ),
        "scikit-learn, LogisticRegression": (
            make_pipeline(one_hot, LogisticRegression(C=0.1, max_iter=200)), texts, tests,
        ),
    }  # fmt: skip
    for name, (model, learned, asked) in models.items():
        said = model.fit(learned, y).predict_proba(asked)[:, 1]
        figures = f"{roc_auc_score(truth, said):.4f} {log_loss(truth, said):.4f} {brier_score_loss(truth, said):.4f}"
        print(f"{name:36} {figures} {interval(truth, said, judge['patient_nbr'].to_numpy())}", flush=True)


def naive(rows: pd.DataFrame, repeats: int = 5) -> None:
    """What a split by rows flatters: the same rows judged, by models that have and have not seen their patients.

    Of each judged patient one half of the rows is judged. The other half is learned from by the naive model; the other
    one has as many rows of other patients instead.
    """
    y, patients = target(rows), rows["patient_nbr"].to_numpy()
    x, _ = features(rows, rows[:1])
    seen: dict[str, list[float]] = {"by rows": [], "by patients": []}
    for repeat, (learned, held) in enumerate(
        GroupShuffleSplit(repeats, test_size=0.3, random_state=0).split(x, y, patients)
    ):
        random = np.random.default_rng(repeat)
        half = random.random(len(held)) < 0.5
        judged, other = held[half], held[~half]
        kept = random.choice(learned, len(learned) - len(other), replace=False)
        # Only those of whom the naive model has seen a stay can flatter it.
        judged = judged[np.isin(patients[judged], patients[other])]
        for name, chosen in (("by rows", np.concatenate([kept, other])), ("by patients", learned)):
            model = lightgbm.LGBMClassifier(**SETTINGS, random_state=0, n_jobs=1, verbose=-1)
            said = model.fit(x.iloc[chosen], y[chosen]).predict_proba(x.iloc[judged])[:, 1]
            seen[name].append(roc_auc_score(y[judged], said))
    gain = np.subtract(seen["by rows"], seen["by patients"])
    for name, found in seen.items():
        print(f"split {name:12} {np.mean(found):.4f}")
    print(f"flattered by {gain.mean():+.4f}, in {repeats} repeats {gain.min():+.4f} to {gain.max():+.4f}")


if __name__ == "__main__":
    learn_rows, judge_rows = read(sys.argv[1]), read(sys.argv[2])
    compare(learn_rows, judge_rows)
    naive(learn_rows)
