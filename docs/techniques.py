"""docs/TECHNIQUES.md, from the headers of the technique files: technique → paper → file → test.

    python docs/techniques.py            writes the page
    python docs/techniques.py --check    says whether it is up to date (exit code 1 where it is not)

A header is the docstring of a technique's file: one sentence, then at most Source, Differs, Cost
and Needs, with three spaces or a new line between them. Nothing is imported: the page can be made
before the dependencies are installed.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from encore import catalogue

__all__ = ["FIELDS", "SOURCES", "Technique", "header", "page", "techniques", "tests_of"]

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "TECHNIQUES.md"
FIELDS = ("Source", "Differs", "Cost", "Needs")
KINDS = {
    "pooling": "hidden states of a text → one vector",
    "heads": "vector → scores",
    "losses": "(model, batch, output) → (sum, weight)",
    "pairs": "two texts → the rows of a batch",
    "adapters": "an encoder → the same, frozen, with new layers inside",
    "sharing": "what the tasks of a recipe have in common",
    "mixing": "→ whose turn it is, step by step",
    "combine": "the gradients of several tasks → one",
    "plans": "→ the phases of training",
    "curves": "step of total → factor on the learning rate",
    "averages": "weights in a running average → the share of the next ones",
    "metrics": "(scores, targets, labels) → figure",
}

# How headers call a source → what it is.
SOURCES = {
    "AdapterFusion": (
        "Xu, *Enhancing BERT with Adapter Fusion: A Strategy for Multi-Task Knowledge "
        "Transfer*, Stanford CS224N"
    ),
    "Devlin et al. 2019": (
        "Devlin, Chang, Lee, Toutanova, *BERT: Pre-training of Deep Bidirectional Transformers "
        "for Language Understanding*, NAACL 2019"
    ),
    "Gorodkin 2004": (
        "Gorodkin, *Comparing two K-category assignments by a K-category correlation "
        "coefficient*, Computational Biology and Chemistry 28, 2004"
    ),
    "MaxPoolBERT": (
        "Behrendt, Wagner, Harmeling, *MaxPoolBERT: Enhancing BERT Classification via Layer- "
        "and Token-Wise Aggregation*"
    ),
    "METHODS": (
        "the specification that the techniques were written from; it settles what the papers "
        "leave open and is no part of this repository"
    ),
    "minBERT generalization": (
        "Venkateswaran, *Methods to Improve Downstream Generalization of minBERT*, Stanford CS224N"
    ),
    "Peters et al. 2018": "Peters et al., *Deep Contextualized Word Representations*, NAACL 2018",
    "RTE": (
        "İskit, *Fine-tuning BERT for Text Classification: Baseline and Alternative "
        "Approaches*, Bilkent University, 2025"
    ),
    "scikit-learn": "Pedregosa et al., *Scikit-learn: Machine Learning in Python*, JMLR 12, 2011",
    "scipy": (
        "Virtanen et al., *SciPy 1.0: Fundamental Algorithms for Scientific Computing in "
        "Python*, Nature Methods 17, 2020"
    ),
    "Sentence-BERT": (
        "Reimers, Gurevych, *Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks*, "
        "EMNLP 2019"
    ),
    "SerBERTus": "Hayes, *SerBERTus: A SMART Three-Headed BERT Ensemble*, Stanford CS224N",
    "Tenney et al. 2019": (
        "Tenney, Das, Pavlick, *BERT Rediscovers the Classical NLP Pipeline*, ACL 2019"
    ),
}


@dataclass(frozen=True)
class Technique:
    """One file of one kind. `line`: its first sentence; `fields`: Source, Differs, … as far as it
    has them; `tests`: the files that test it.
    """

    kind: str
    name: str
    file: Path
    line: str
    fields: dict[str, str]
    tests: tuple[Path, ...]


def header(docstring: str) -> tuple[str, dict[str, str]]:
    """A docstring's first sentence and its fields. Raises ValueError where it says something else,
    or a field twice.
    """
    paragraphs = docstring.strip().split("\n\n")
    if len(paragraphs) > 2:
        raise ValueError(f"expected one sentence and the fields, got {len(paragraphs)} paragraphs")
    found: dict[str, str] = {}
    for part in (
        re.split(rf" {{2,}}|\n(?=(?:{'|'.join(FIELDS)}): )", paragraphs[1])
        if len(paragraphs) == 2
        else []
    ):
        name, colon, value = part.partition(": ")
        if not colon or name not in FIELDS:
            raise ValueError(f"expected one of {', '.join(FIELDS)}, got '{part[:60]}'")
        if name in found:
            raise ValueError(f"{name} stands twice")
        found[name] = " ".join(value.split())
    return " ".join(paragraphs[0].split()), found


def techniques() -> list[Technique]:
    """Every technique, by kind and name. Raises ValueError that names the file where a header is
    not one.
    """
    found = []
    for kind in KINDS:
        for file in sorted(
            (ROOT / "encore" / "techniques" / catalogue.folder(kind)).glob("[a-z]*.py")
        ):
            docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")), clean=True)
            try:
                line, fields = header(docstring or "")
            except ValueError as error:
                raise ValueError(f"{file.relative_to(ROOT)}: {error}") from None
            found.append(
                Technique(
                    kind, file.stem, file.relative_to(ROOT), line, fields, tests_of(kind, file.stem)
                )
            )
    return found


def tests_of(kind: str, name: str) -> tuple[Path, ...]:
    """Test files in tests/techniques/KIND that are about this technique: by their name, by
    importing it, or by going through its folder with `catalogue.names(KIND)`.
    """
    folder = catalogue.folder(kind)
    about = re.compile(
        rf"\bencore\.techniques\.{folder}\.{name}\b|\bfrom encore\.techniques\.{folder} import "
        rf"[^\n]*\b{name}\b|\bnames\(\"{kind}\"\)|\"{kind}\", \"{name}\""
    )
    files = sorted((ROOT / "tests" / "techniques" / folder).glob("test_*.py"))
    return tuple(
        file.relative_to(ROOT)
        for file in files
        if file.stem == f"test_{name}" or about.search(file.read_text(encoding="utf-8"))
    )


def page() -> str:
    """The whole of docs/TECHNIQUES.md."""
    lines = [
        "# Techniques",
        "",
        "Generated by `python docs/techniques.py` from the headers of the files; do not edit. "
        "The name is what a recipe says.",
    ]
    for kind, what in KINDS.items():
        lines += [
            "",
            f"## {kind}",
            "",
            what,
            "",
            "| name | what it is | source | differs from it | cost | needs | test |",
            "|---|---|---|---|---|---|---|",
        ]
        for one in techniques():
            if one.kind == kind:
                tests = ", ".join(f"[{file.name}](../{file})" for file in one.tests)
                cells = [
                    f"[`{one.name}`](../{one.file})",
                    one.line,
                    *(one.fields.get(field, "").removesuffix(".") for field in FIELDS),
                    tests,
                ]
                lines.append(
                    f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
                )
    lines += ["", "## Sources", ""]
    lines += [
        f"- **{name}**: {text}."
        for name, text in sorted(SOURCES.items(), key=lambda item: item[0].lower())
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    made = page()
    if "--check" in arguments:
        current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        if current != made:
            print(
                f"{PAGE.relative_to(ROOT)} is not up to date: run `python docs/techniques.py`.",
                file=sys.stderr,
            )
        return int(current != made)
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
