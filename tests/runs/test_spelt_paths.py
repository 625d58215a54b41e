"""A run is the same however its paths are spelt and wherever the command is given."""

from __future__ import annotations

import shutil
from pathlib import Path

from encore import files
from tests.conftest import Tables, Warm

COLUMNS = ("--text", "text", "--label", "verdict")


def test_manifests_do_not_depend_on_the_spelling_of_paths(
    warm: Warm, tables: Tables, tmp_path: Path
) -> None:
    home, beside = tmp_path / "home", tmp_path / "beside"
    data = home / "data"
    data.mkdir(parents=True)
    beside.mkdir()
    for source in (tables.train, tables.dev):
        shutil.copy(source, data)
    encoder = Path(dict(each.split("=", 1) for each in tables.settings)["encoder"])
    shutil.copytree(encoder, home / encoder.name)
    rest = [each for each in tables.settings if not each.startswith(("encoder=", "plan.epochs="))]
    spelt = {
        "absolute": (home, data, home / encoder.name, home / "runs"),
        "relative": (home, Path("data"), Path(encoder.name), Path("runs")),
        "dots": (
            beside,
            Path("../home/./data"),
            Path("../home") / encoder.name,
            Path("../home/runs"),
        ),
        "more dots": (data, Path("../data"), Path("..") / encoder.name, Path("../../home/runs")),
    }
    manifests = {}
    for how, (cwd, rows, place, runs) in spelt.items():
        words = ["train", rows / "train.csv", "--dev", rows / "dev.csv", *COLUMNS, *rest]
        words += [f"encoder={place}", "plan.epochs=1", "--runs", runs]
        outcome = warm.run(words, cwd=str(cwd))
        assert outcome.code == 0, outcome.err
        (run,) = (home / "runs").iterdir()
        manifests[how] = (run.name, (run / files.MANIFEST).read_bytes())
        assert not list(beside.iterdir())
        shutil.rmtree(home / "runs")
    assert len(set(manifests.values())) == 1, manifests
