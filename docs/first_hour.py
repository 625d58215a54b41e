"""Writes the seven files of docs/first-hour.md as a person would have them, from the data sets in
ENCORE_DATA: python docs/first_hour.py FOLDER [ROWS]

- reviews.csv: the openings of film reviews of IMDB with a sentiment.
- questions.tsv: questions of QNLI; the kind of answer that the first word asks for, six kinds.
- intents.csv: the second sentences of Simple English Wikipedia's articles; what the first sentence
  says the subject is ("is a city"), up to 60 kinds with as many rows each.
- tweets.csv: sentences of SST-5 in three classes, dressed as an export of messages: identifiers of
  18 digits, times, users, line ends in texts, a byte order mark, semicolons.
- pairs.jsonl: pairs of STS-B with the similarity, and "same" from 4 on.
- aspects.csv: openings of film reviews with the aspects that they mention, as "acting, story".
"""

from __future__ import annotations

import csv
import json
import os
import random
import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import pyarrow.parquet as pq

ROWS = 600
_KINDS = {
    "who": "person",
    "when": "time",
    "where": "place",
    "how many": "number",
    "why": "reason",
    "what": "thing",
}
_ASPECTS = {
    "acting": r"acting|actors?\b|actress|performance",
    "music": r"music|soundtrack|songs?\b|score\b",
    "story": r"story|plot\b|script",
    "effects": r"effects|cgi\b|animation",
    "ending": r"ending|the end\b|finale",
    "direction": r"direct(?:or|ed|ing|ion)\b",
}
# "is a small city in", with "city" in the group.
_SUBJECT = (
    r"\b(?:is|was) an? (?:[\w-]+ ){0,4}?([a-z]{4,14})"
    r"(?=[,.]| (?:in|of|from|by|that|who|on|at|for|and|which)\b)"
)
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def rows_of(name: str, n_rows: int) -> list[dict[str, object]]:
    """The first rows of a train set."""
    return pq.read_table(Path(os.environ["ENCORE_DATA"]) / name / "train.parquet")[
        :n_rows
    ].to_pylist()


def plain(text: object) -> str:
    """A review without the line breaks of the web."""
    return " ".join(str(text).replace("<br />", " ").split())


def write_reviews(folder: Path, n_rows: int) -> None:
    rows = [
        (plain(row["text"])[:120], ("negative", "positive")[int(str(row["label"]))])
        for row in rows_of("imdb", n_rows)
    ]
    _csv(folder / "reviews.csv", ("review", "sentiment"), rows)


def write_questions(folder: Path, n_rows: int) -> None:
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in rows_of("qnli", 20 * n_rows):
        question = str(row["text_a"])
        for word, kind in _KINDS.items():
            if question.lower().startswith(f"{word} ") and len(found[kind]) < n_rows // 6:
                found[kind].append((question, kind))
    rows = _shuffled([row for part in found.values() for row in part])
    _csv(folder / "questions.tsv", ("Question", "Type"), rows, delimiter="\t")


def write_intents(folder: Path, n_rows: int) -> None:
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in rows_of("wiki_simple", 60 * n_rows):
        sentences = re.split(r"(?<=[.!?]) +", plain(row["text"]))
        kind = re.search(_SUBJECT, sentences[0])
        if kind and len(sentences) > 2 and 30 < len(sentences[1]) < 300:
            found[kind[1]].append((sentences[1], kind[1]))
    n_each = max(4, n_rows // 40)
    kinds = (kind for kind in found if len(found[kind]) >= n_each)
    common = sorted(kinds, key=lambda kind: -len(found[kind]))[: min(60, n_rows // 10)]
    rows = _shuffled([row for kind in common for row in found[kind][:n_each]])
    _csv(folder / "intents.csv", ("utterance", "intent"), rows)


def write_tweets(folder: Path, n_rows: int) -> None:
    draw, rows = random.Random(1), []
    for number, row in enumerate(rows_of("cs224n_sst5", n_rows)):
        text = str(row["text"])
        if draw.random() < 0.3:
            text = f"@user{draw.randrange(99)} {text}"
        if draw.random() < 0.2:
            text = text.replace(" , ", " ,\n", 1)
        if draw.random() < 0.4:
            text += draw.choice((" #film", " 😀", " https://t.co/x1", " 😡 #fail", " RT"))
        mood = ("negative", "neutral", "positive")[(int(str(row["label"])) + 1) // 2]
        posted = f"2024-{1 + number % 12:02}-{1 + number % 28:02} 12:{number % 60:02}"
        rows.append((17 * 10**16 + number * 7919, posted, f"user{number % 311}", text, mood))
    header = ("tweet_id", "created_at", "user", "tweet", "airline_sentiment")
    _csv(folder / "tweets.csv", header, rows, delimiter=";", encoding="utf-8-sig")


def write_pairs(folder: Path, n_rows: int) -> None:
    lines = [
        json.dumps(
            {
                "sentence1": row["text_a"],
                "sentence2": row["text_b"],
                "same": "yes" if float(str(row["label"])) >= 4 else "no",
                "similarity": row["label"],
            }
        )
        for row in rows_of("stsb", n_rows)
    ]
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_aspects(folder: Path, n_rows: int) -> None:
    rows = []
    for row in rows_of("imdb", 5 * n_rows)[2 * n_rows :]:
        text = plain(row["text"])[:120]
        named = [name for name, words in _ASPECTS.items() if re.search(words, text.lower())]
        if named:
            rows.append((text, ", ".join(named)))
    _csv(folder / "aspects.csv", ("text", "aspects"), rows[:n_rows])


def write_export(folder: Path, n_rows: int) -> None:
    draw = random.Random(2)
    spelt = {0: ("Negative", "negative ", "NEGATIVE"), 1: ("Positive", "positive ", "POSITIVE")}
    lines: list[Sequence[object]] = [("Customer feedback, 3rd quarter",), ()]
    lines.append(("No.", "Feedback", "Sentiment"))
    for number, row in enumerate(rows_of("imdb", 2 * n_rows)[n_rows:], 1):
        word = draw.choice(spelt[int(str(row["label"]))])
        lines.append((number, plain(row["text"])[:120], word))
        if number % 50 == 0:
            lines.append(())
    write_workbook(folder / "export.xlsx", lines)


def write_workbook(path: Path, lines: Iterable[Sequence[object]]) -> None:
    """The smallest workbook that Excel opens, of one sheet."""
    rows = []
    for number, line in enumerate(lines, 1):
        cells = (
            f'<c r="{chr(65 + at)}{number}"><v>{value}</v></c>'
            if isinstance(value, int)
            else f'<c r="{chr(65 + at)}{number}" t="inlineStr"><is><t xml:space="preserve">'
            f"{escape(str(value))}</t></is></c>"
            for at, value in enumerate(line)
        )
        rows.append(f'<row r="{number}">{"".join(cells)}</row>')
    form = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" '
        f'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override '
        f'PartName="/xl/workbook.xml" ContentType="{form}.sheet.main+xml"/><Override '
        f'PartName="/xl/worksheets/sheet1.xml" ContentType="{form}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_DOCUMENT}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_DOCUMENT}"><sheets><sheet '
        f'name="Feedback" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{_DOCUMENT}/worksheet" Target="worksheets/sheet1.xml"/>'
        f"</Relationships>",
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_MAIN}"><sheetData>{"".join(rows)}'
        f"</sheetData></worksheet>",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>\n{content}')


def _csv(
    path: Path,
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    delimiter: str = ",",
    encoding: str = "utf-8",
) -> None:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)


def _shuffled(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    random.Random(0).shuffle(rows)
    return rows


def main() -> None:
    folder = Path(sys.argv[1])
    n_rows = int(sys.argv[2]) if len(sys.argv) > 2 else ROWS
    folder.mkdir(parents=True, exist_ok=True)
    for write in (
        write_reviews,
        write_questions,
        write_intents,
        write_tweets,
        write_pairs,
        write_aspects,
        write_export,
    ):
        write(folder, n_rows)


if __name__ == "__main__":
    main()
