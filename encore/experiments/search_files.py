"""The files of a search that are not figures: study.json and trials.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial

from encore.data.spreadsheet import text_cell, text_cells
from encore.errors import hide_credentials
from encore.experiments.search_preparation import PreparedSearch
from encore.experiments.study import problems_of, score_of

__all__ = ["description_of", "trials_csv"]


def description_of(tuning: PreparedSearch) -> dict[str, Any]:
    """The contents of study.json; of a database's URL no credentials."""
    search = tuning.search
    storage = hide_credentials(tuning.storage, of=tuning.storage) if tuning.storage else "study.db"
    return {
        "name": search.name,
        "overrides": list(search.overrides),
        "search": {one.path: one.spec for one in search.parameters},
        "trials": tuning.n_trials,
        "seeds_per_trial": search.seeds_per_trial,
        "trial_seeds": list(search.trial_seeds),
        "seeds": list(search.seeds),
        "seed": search.seed,
        "sampler": tuning.sampler,
        "pruner": tuning.pruner,
        "storage": storage,
        "study": tuning.name,
    }


def trials_csv(tuning: PreparedSearch, trials: Sequence[FrozenTrial]) -> str:
    """The contents of trials.csv: a line per trial."""
    paths = [one.path for one in tuning.search.parameters]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            "trial",
            "state",
            "value",
            *paths,
            "value_at_best_epoch",
            "reports",
            "values",
            "runs",
            "problems",
        ]
    )
    for trial in trials:
        score = score_of(trial)
        writer.writerow(
            [
                trial.number,
                trial.state.name.lower(),
                trial.value,
                *text_cells(trial.params.get(path) for path in paths),
                score and score.value_at_best_epoch,
                len(trial.intermediate_values),
                " ".join(map(str, score.values)) if score else "",
                " ".join(score.runs) if score else "",
                text_cell(" ".join(problems_of(trial))),
            ]
        )
    return out.getvalue()
