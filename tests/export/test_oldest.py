"""The oldest transformers and sentence-transformers that are allowed, in an environment of their
own over this one.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from encore.export.folder import OLDEST

ROOT = Path(__file__).parents[2]


@pytest.mark.nightly
def test_the_oldest_versions_load_every_export_too(tmp_path: Path) -> None:
    """Needs the network for two packages and what they insist on; all the rest is this
    environment's.
    """
    venv.create(tmp_path / "old", with_pip=True)
    python = str(tmp_path / "old" / "bin" / "python")
    (site,) = (tmp_path / "old" / "lib").glob("python3*/site-packages")
    (site / "rest.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    wanted = [f"{name.replace('_', '-')}=={version}.0" for name, version in OLDEST.items()]
    installed = subprocess.run(
        [python, "-m", "pip", "install", "-q", *wanted], capture_output=True, text=True
    )
    if installed.returncode:
        pytest.skip(
            f"{' '.join(wanted)}: not to be had here: {installed.stderr.strip().splitlines()[-1]}"
        )
    tests = [str(ROOT / "tests" / "export" / name) for name in ("test_check.py", "test_hf.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [python, "-m", "pytest", "-p", "no:cacheprovider", *tests],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    told = subprocess.run(
        [python, "-c", "import transformers; print(transformers.__version__)"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert told.stdout.strip() == f"{OLDEST['transformers']}.0"
