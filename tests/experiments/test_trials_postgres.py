"""The trials of a search in PostgreSQL, for real: a server of our own for a minute, two machines,
workers that are killed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from encore.errors import RecipeError
from encore.experiments.study import check_storage, counted_trials, open_study
from encore.experiments.trial import TrialReport, TrialScore
from experiments.test_trials import both_at_once, made, once, toy

pytestmark = pytest.mark.nightly


def programs() -> Path | None:
    """The folder with initdb, which distributions keep off the path."""
    found = [
        Path(where).parent
        for where in (
            shutil.which("initdb"),
            *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb"))),
        )
        if where
    ]
    return next(
        (
            folder
            for folder in found
            if (folder / "pg_ctl").exists() and (folder / "createdb").exists()
        ),
        None,
    )


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Of an empty database. The server listens on a socket in a folder of its own and on nothing
    else.
    """
    pytest.importorskip(
        "psycopg2", reason="the driver is not installed: pip install psycopg2-binary"
    )
    where = programs()
    if where is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's name has to be short
    user = []
    if os.geteuid() == 0:  # the server refuses to be root
        shutil.chown(folder, "postgres")
        user = ["runuser", "-u", "postgres", "--"]

    def do(*words: str) -> None:
        subprocess.run([*user, *words], check=True, stdout=subprocess.DEVNULL, cwd=folder)

    do(str(where / "initdb"), "-D", str(folder / "data"), "-A", "trust", "-U", "postgres")
    do(
        str(where / "pg_ctl"),
        "-D",
        str(folder / "data"),
        "-o",
        f"-c listen_addresses='' -k {folder}",
        "-l",
        str(folder / "log"),
        "-w",
        "start",
    )
    try:
        do(str(where / "createdb"), "-h", str(folder), "-U", "postgres", "trials")
        yield f"postgresql+psycopg2://postgres:secret@/trials?host={folder}"
    finally:
        do(str(where / "pg_ctl"), "-D", str(folder / "data"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


def test_two_machines_with_two_workers_each_lose_and_double_nothing(
    url: str, tmp_path: Path
) -> None:
    machines = [made(tmp_path / name, 40, storage=url) for name in ("a", "b")]
    open_study(machines[0])

    def objective(given: Mapping[str, Any], report: TrialReport) -> TrialScore:
        if int(given["plan.lr"] * 1e9) % 7 == 0:
            once(tmp_path / f"mark-{given['plan.lr']}")()
        return toy(given, report)

    both_at_once(machines, objective)
    found = counted_trials(open_study(machines[0]))
    assert len(found) == 40
    assert {trial.state for trial in found} == {TrialState.COMPLETE}
    assert len({trial.params["plan.lr"] for trial in found}) == 40
    assert {trial.user_attrs["owner"] for trial in found} == {machine.owner for machine in machines}
    assert list(tmp_path.glob("mark-*"))


def test_a_database_that_there_is_not_is_told_without_the_password(url: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_storage(url.replace("/trials?", "/nothere?"))
    (told,) = caught.value.lines
    assert 'database "nothere" does not exist' in told
    assert "secret" not in told
