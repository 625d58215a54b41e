"""Makes docs/images/report.png, the picture in the README: the first two screens of a report.

    python docs/picture.py RUN       RUN: the folder that the README's first command made

Needs chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PICTURE = Path(__file__).resolve().parent / "images" / "report.png"
WIDTH, HEIGHT, GAP = 1000, 1195, 40  # of a screen, in pixels
# No start page, no updates, no other request.
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)


def photograph(page: Path, picture: Path, *, width: int = WIDTH, height: int = HEIGHT) -> None:
    """Write the first two screens of an HTML page, side by side, as a PNG file of 256 colours."""
    from PIL import Image

    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit(
            "docs/picture.py: chromium is missing. Install it: apt-get install chromium"
        )
    with tempfile.TemporaryDirectory() as profile:
        shot = Path(profile, "shot.png")
        options = [f"--user-data-dir={profile}/profile", f"--window-size={width},{2 * height}"]
        options += [f"--screenshot={shot}", page.resolve().as_uri()]
        subprocess.run([browser, *QUIET, *options], check=True, capture_output=True, timeout=120)
        whole = Image.open(shot).convert("RGB")
    both = Image.new("RGB", (2 * width + GAP, height), whole.getpixel((0, 0)))
    for number in range(2):
        part = whole.crop((0, number * height, width, (number + 1) * height))
        both.paste(part, (number * (width + GAP), 0))
    picture.parent.mkdir(parents=True, exist_ok=True)
    both.quantize(256).save(picture, optimize=True)


def main(run: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        page = Path(place, "report.html")
        command = [sys.executable, "-m", "encore", "report", run, "-o", str(page)]
        subprocess.run(command, check=True)
        photograph(page, PICTURE)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
