"""Text → token ids, once per run: an unpadded store that every epoch reads.

The tokenizer cuts and pads nothing here. It encodes each text alone, without special tokens; these are put around what is left after truncation, from
the tokenizer's own template. So one piece of code serves every family (BERT adds 2 or 3 special tokens, RoBERTa 2 or 4) and every way to cut.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from encore import files
from encore.errors import DataError, RecipeError, did_you_mean, on_one_line

if TYPE_CHECKING:
    import pyarrow

__all__ = [
    "Pieces", "Template", "Templates", "Texts", "TokenStore", "Tokeniser", "Truncation", "end_to_end", "kept", "pieces", "shares", "take_runs", "tokenise",
]

Truncation = Literal["head", "tail", "head_tail", "half_half"]
Texts: TypeAlias = "Sequence[str] | pyarrow.Array | pyarrow.ChunkedArray"
Encodings: TypeAlias = "tuple[np.ndarray, np.ndarray]"         # ids of all texts end to end, int32, and the length of each, int64

_HEAD_FRAC = {"head": Fraction(1), "tail": Fraction(0), "head_tail": Fraction(128, 510), "half_half": Fraction(1, 2)}
_BLOCK_ROWS = 1024  # An Encoding takes about 100 bytes per token, so no more than one block of them exists at a time:
_BLOCK_CHARACTERS = 1 << 20  # 30 MB, whatever the number and the length of the rows.
_SHOWN = 20
_NORMALISES = {"do_lower_case": "lowercase", "strip_accents": "strip_accents", "tokenize_chinese_chars": "handle_chinese_chars"}  # config → normaliser
_WORDPIECE = ("Bert", "DistilBert", "Electra", "MobileBert", "ConvBert", "LayoutLM", "Lxmert", "Retribert", "SqueezeBert")  # same pieces, same template


@dataclass(frozen=True)
class TokenStore:
    """The tokens of all rows, end to end, special tokens included. Row `r` owns `offsets[r]:offsets[r + 1]`.

    ids: (tokens,) int32; segments: (tokens,) uint8, 0 for the first text and 1 for the second where the family tells them apart;
    offsets: (rows + 1,) int64; cut: (rows,) bool, True where a text did not fit `max_length`.
    """

    ids: np.ndarray
    segments: np.ndarray
    offsets: np.ndarray
    cut: np.ndarray
    max_length: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """(rows,) int64: tokens of each row."""
        return np.diff(self.offsets)

    @property
    def n_cut(self) -> int:
        """Rows that lost tokens to `max_length`."""
        return int(np.count_nonzero(self.cut))

    def take(self, rows: np.ndarray) -> TokenStore:
        """The given rows in the given order; a row may occur more than once."""
        lengths = self.lengths[rows]
        index = take_runs(self.offsets[:-1][rows], lengths)
        return TokenStore(self.ids[index], self.segments[index], _offsets(lengths), self.cut[rows], self.max_length)


@dataclass(frozen=True)
class Template:
    """What a tokenizer puts before, between and after the texts of a row. ids, segments: of these special tokens; counts: how many in each place;
    text_segments: of the texts between them."""

    ids: tuple[int, ...]
    segments: tuple[int, ...]
    counts: tuple[int, ...]
    text_segments: tuple[int, ...]


class Templates:
    """What is put around the texts of a row: `templates[pair]`, around one text or around two. By itself it makes rows of texts that are token ids already,
    (tokens,) int32 without special ones; a Tokeniser makes them of strings."""

    def __init__(self, templates: Mapping[bool, Template]) -> None:
        self.templates = dict(templates)

    def n_special(self, pair: bool) -> int:
        """Special tokens that one row (`pair`: of two texts) gets: BERT 2 and 3, RoBERTa 2 and 4."""
        return sum(self.templates[pair].counts)

    def encoded(self, texts: list[Any]) -> Encodings:
        """Without special tokens."""
        return np.concatenate([np.empty(0, np.int32), *texts]), np.fromiter(map(len, texts), np.int64, len(texts))

    def problems(self, texts: Any, name: str) -> Iterator[str]:
        """A line for each row that is no text."""
        return iter(())


class Tokeniser(Templates):
    """A `tokenizers` tokenizer that neither pads nor truncates, whatever its file says.

    `source` is a folder with tokenizer.json, or with only a BERT vocab.txt, or a tokenizer.json itself. For BERT's WordPiece, what tokenizer_config.json
    says of lower case, accents and Chinese characters decides, as in transformers, with which these encoders were trained. Raises DataError.
    `backend` is the `tokenizers.Tokenizer`, for those who need words and offsets.
    """

    def __init__(self, source: str | Path) -> None:
        source = Path(source)
        file = source if source.is_file() else source / "tokenizer.json"
        settings = _settings(file.parent)
        if file.is_file():
            self.backend = _from_json(file)
        elif (source / "vocab.txt").is_file():
            file = source / "vocab.txt"
            self.backend = _from_vocabulary(file, settings)
        else:
            raise DataError(f"{source}: no tokenizer.json and no vocab.txt. Save the tokenizer of this encoder into the same folder.")
        if isinstance(self.backend.normalizer, normalizers.BertNormalizer):
            _set_normaliser(self.backend.normalizer, settings, file.parent)
        self.backend.no_padding()
        self.backend.no_truncation()
        super().__init__({pair: _template(self.backend, pair, file) for pair in (False, True)})

    def encoded(self, texts: list[str]) -> Encodings:
        encodings = self.backend.encode_batch_fast(texts, add_special_tokens=False)
        lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
        return np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int32, int(lengths.sum())), lengths

    def problems(self, texts: Texts, name: str) -> Iterator[str]:
        return _not_text(texts, name)

    @cached_property
    def digest(self) -> str:
        """sha256 of what determines the ids: the same before and after `save`, with padding baked in or not, from tokenizer.json or the same vocab.txt."""
        content = json.loads(self.backend.to_str())
        decisive = {part: content[part] for part in ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "model")}
        return hashlib.sha256(files.canonical(decisive)).hexdigest()

    def save(self, folder: str | Path) -> Path:
        """Write `folder/tokenizer.json`, all of it or nothing, so that the folder tokenises without the encoder's own. Returns the file's path.

        Raises TrainingError where the disk does not take it.
        """
        file = Path(folder) / "tokenizer.json"
        files.write(file, self.backend.to_str(pretty=True).encode())
        return file


def tokenise(tokeniser: Templates, texts: Texts, pairs: Texts | None = None, *, max_length: int, truncation: Truncation) -> TokenStore:
    """Tokenise rows, and cut what is longer than `max_length` tokens (special ones included). METHODS 8.6.

    head: the first tokens stay; tail: the last; head_tail: the first ⌊share·128/510⌋ and the last of the rest (128 + 382 for 512); half_half: half of
    each. With `pairs`, the longer text is trimmed first until both fit (`shares`), then each text is cut to its own share in the same way.
    Raises RecipeError for impossible settings and DataError for rows that are not text.
    """
    n_special = tokeniser.n_special(pairs is not None)
    _check_settings(max_length, truncation, n_special, n_texts=1 if pairs is None else 2)
    if pairs is not None and len(pairs) != len(texts):
        raise DataError(f"texts and pairs: expected one second text per row, got {len(texts)} texts and {len(pairs)} second texts.")
    problems = [problem for side, name in ((texts, "text"), (pairs, "second text")) if side is not None for problem in tokeniser.problems(side, name)]
    if problems:
        raise DataError(problems if len(problems) <= _SHOWN else [*problems[:_SHOWN], f"… and {len(problems) - _SHOWN} more."])
    budget = max_length - n_special
    blocks = [_assembled(tokeniser, first, second, budget, truncation) for first, second in _blocks(texts, pairs)]
    nothing = (np.empty(0, np.int32), np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, bool))
    ids, segments, lengths, cut = (np.concatenate(parts) for parts in zip(nothing, *blocks, strict=True))
    if (lengths == 0).any():
        row = int(np.flatnonzero(lengths == 0)[0])
        raise DataError(f"text of row {row + 1}: gives no token at all, and this tokenizer adds no special ones. Remove such rows.")
    return TokenStore(ids, segments, _offsets(lengths), cut, max_length)


@dataclass(frozen=True)
class Pieces:
    """Where the pieces of one text come from and where they went.

    spans: (pieces,) first character and the one behind the last; words: (pieces,) the number of the word that each is part of, as the tokenizer counts;
    places: (pieces,) int64, where each stands among its row's tokens, -1 where it was cut off.
    """

    spans: Sequence[tuple[int, int]]
    words: Sequence[int | None]
    places: np.ndarray


def pieces(tokeniser: Tokeniser, text: str, pair: str | None = None, *, max_length: int, truncation: Truncation) -> tuple[Pieces, ...]:
    """The pieces of one row that `tokenise` makes of the same arguments, for each of its texts."""
    template = tokeniser.templates[pair is not None]
    encodings = [tokeniser.backend.encode(side, add_special_tokens=False) for side in (text, pair) if side is not None]
    lengths = [np.array([len(encoding)]) for encoding in encodings]
    budget = max_length - tokeniser.n_special(pair is not None)
    keep = [np.minimum(lengths[0], budget)] if pair is None else shares(lengths[0], lengths[1], budget)
    found, next_place = [], 0
    for encoding, of_text, n_special in zip(encodings, keep, template.counts, strict=False):
        next_place += n_special
        share = int(of_text[0])
        head, tail = (share, 0) if share == len(encoding) else (int(part[0]) for part in kept(of_text, truncation))
        places = np.full(len(encoding), -1, dtype=np.int64)
        places[:head] = next_place + np.arange(head)
        places[len(places) - tail :] = next_place + head + np.arange(tail)
        next_place += share
        found.append(Pieces(encoding.offsets, encoding.word_ids, places))
    return tuple(found)


def end_to_end(stores: Sequence[TokenStore]) -> TokenStore:
    """All rows of the first, then all of the second, …."""
    if len(stores) == 1:
        return stores[0]
    ids, segments, lengths, cut = (np.concatenate(parts) for parts in zip(*((one.ids, one.segments, one.lengths, one.cut) for one in stores), strict=True))
    return TokenStore(ids, segments, _offsets(lengths), cut, stores[0].max_length)


def shares(first: np.ndarray, second: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens each text of a pair keeps when the longer one is trimmed until both fit `budget`.

    first, second: (rows,) lengths. A text of at most half the budget is never cut; where both are longer, each gets half, and the odd token goes to
    the longer one (to the second where they are equal), as in `tokenizers`.
    """
    half, odd = divmod(budget, 2)
    shorter, longer = np.minimum(first, second), np.maximum(first, second)
    fits = first + second <= budget
    keep_shorter = np.where(fits, shorter, np.minimum(shorter, half))
    keep_longer = np.where(fits, longer, np.where(shorter <= half, budget - shorter, half + odd))
    swapped = first > second
    return np.where(swapped, keep_longer, keep_shorter), np.where(swapped, keep_shorter, keep_longer)


def kept(share: np.ndarray, truncation: Truncation) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) tokens kept from the start and from the end of a text that is cut to `share` tokens."""
    fraction = _HEAD_FRAC[truncation]
    head = share * fraction.numerator // fraction.denominator
    return head, share - head


def take_runs(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Indices of runs, end to end: `starts[i], starts[i] + 1, …`, `counts[i]` of them. (runs,) and (runs,) → (sum of counts,) int64."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)


def _assembled(tokeniser: Templates, texts: list[str], pairs: list[str] | None, budget: int, truncation: Truncation) -> tuple[np.ndarray, ...]:
    """ids, segments, lengths and cut of one block."""
    template = tokeniser.templates[pairs is not None]
    sides = [tokeniser.encoded(side) for side in (texts, pairs) if side is not None]
    lengths = [side[1] for side in sides]
    keep = [np.minimum(lengths[0], budget)] if pairs is None else list(shares(lengths[0], lengths[1], budget))
    # Every row is a list of runs in one pool of ids: specials, start of a text, its end, specials, ….
    pool = np.concatenate([np.array(template.ids, dtype=np.int32), *(side[0] for side in sides)])
    pool_segments = np.repeat(
        np.array([*template.segments, *template.text_segments[: len(sides)]], dtype=np.uint8), [1] * len(template.ids) + [len(side[0]) for side in sides]
    )
    starts, counts = [], []
    special, base = 0, len(template.ids)
    rows = len(texts)
    for place, n_special in enumerate(template.counts):
        starts.append(np.full(rows, special))
        counts.append(np.full(rows, n_special))
        special += n_special
        if place < len(sides):
            ends = base + np.cumsum(lengths[place])
            head, tail = kept(keep[place], truncation)
            whole = keep[place] == lengths[place]
            head, tail = np.where(whole, keep[place], head), np.where(whole, 0, tail)
            starts += [ends - lengths[place], ends - tail]
            counts += [head, tail]
            base += len(sides[place][0])
    index = take_runs(np.stack(starts, axis=1).ravel(), np.stack(counts, axis=1).ravel())
    cut = np.zeros(rows, dtype=bool)
    for length, share in zip(lengths, keep, strict=True):
        cut |= share < length
    return pool[index], pool_segments[index], np.sum(keep, axis=0) + special, cut


def _blocks(texts: Texts, pairs: Texts | None) -> Iterator[tuple[list[str], list[str] | None]]:
    """Rows as Python strings, a bounded number of characters at a time."""
    for start in range(0, len(texts), _BLOCK_ROWS):
        first = _strings(texts, start)
        second = None if pairs is None else _strings(pairs, start)
        begin = characters = 0
        for row, text in enumerate(first):
            size = len(text) + (0 if second is None else len(second[row]))
            if row > begin and characters + size > _BLOCK_CHARACTERS:
                yield first[begin:row], None if second is None else second[begin:row]
                begin, characters = row, 0
            characters += size
        yield first[begin:], None if second is None else second[begin:]


def _strings(texts: Any, start: int) -> list[str]:
    part = texts[start : start + _BLOCK_ROWS]
    return part.to_pylist() if hasattr(part, "to_pylist") else list(part)


def _not_text(texts: Any, name: str) -> Iterator[str]:
    if hasattr(texts, "null_count") and texts.null_count == 0 and str(texts.type) in {"string", "large_string", "string_view"}:
        return  # Arrow's strings are valid UTF-8
    for start in range(0, len(texts), _BLOCK_ROWS):
        for row, text in enumerate(_strings(texts, start), start=start + 1):
            if not isinstance(text, str):
                yield f"{name} of row {row}: expected text, got {'nothing' if text is None else type(text).__name__}. Fill in or remove that row."
            elif not text.isascii() and not _encodable(text):
                yield f"{name} of row {row}: has a lone surrogate (half a character), which is not text. Read the source again with its right encoding."


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _offsets(lengths: np.ndarray) -> np.ndarray:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _check_settings(max_length: int, truncation: str, n_special: int, *, n_texts: int) -> None:
    problems = []
    if truncation not in get_args(Truncation):
        problems.append(f"truncation: no way to cut called '{truncation}'. {did_you_mean(str(truncation), get_args(Truncation))}")
    if isinstance(max_length, bool) or not isinstance(max_length, int):
        problems.append(f"max_length: expected a whole number of tokens, got {max_length!r}.")
    elif max_length < n_special + n_texts:
        what = "pair of texts" if n_texts == 2 else "text"
        problems.append(
            f"max_length: expected at least {n_special + n_texts}, got {max_length}: "
            f"this tokenizer puts {n_special} special tokens around a {what}. Raise max_length."
        )
    if problems:
        raise RecipeError(problems)


def _template(backend: Tokenizer, pair: bool, file: Path) -> Template:
    """Ask the tokenizer's post-processor what it puts where, with texts whose lengths tell them apart."""
    n_texts = 2 if pair else 1
    piece = next((text for text in _words(backend) if len(backend.encode(text, add_special_tokens=False)) > 0), None)
    if piece is None:
        raise DataError(f"{file}: gives no token for any word of its own vocabulary, so this is not a tokenizer that Encore can use.")
    texts = [" ".join([piece] * n_pieces) for n_pieces in (3, 2)[:n_texts]]
    whole = backend.encode(texts[0], texts[1] if pair else None)
    n_own = sum(len(backend.encode(text, add_special_tokens=False)) for text in texts)
    owners = whole.sequence_ids
    order = [owner for owner, before in zip(owners, [-1, *owners], strict=False) if owner is not None and owner != before]
    if order != list(range(n_texts)) or len(whole) - n_own != backend.num_special_tokens_to_add(pair):
        raise DataError(f"{file}: its post_processor does not keep {'the two texts' if pair else 'the text'} in one piece and in order, got {whole.tokens}.")
    special = np.array([owner is None for owner in owners])
    where = np.array([sum(1 for text in range(n_texts) if text in owners[:position]) for position in range(len(owners))])
    return Template(
        ids=tuple(np.array(whole.ids)[special].tolist()),
        segments=tuple(np.array(whole.type_ids)[special].tolist()),
        counts=tuple(int(np.count_nonzero(special & (where == place))) for place in range(n_texts + 1)),
        text_segments=tuple(whole.type_ids[owners.index(text)] for text in range(n_texts)),
    )


def _words(backend: Tokenizer) -> Iterator[str]:
    yield from "aA.1"
    yield from backend.get_vocab()  # a tokenizer may know none of these


def _from_json(file: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # `tokenizers` raises bare Exception for whatever is wrong with the file
        remedy = "Save it again: tokenizer.save_pretrained(folder)."
        raise DataError(f"{file}: not a tokenizer that `tokenizers` can read ({on_one_line(error)}). {remedy}") from None


def _settings(folder: Path) -> dict[str, Any]:
    file = folder / "tokenizer_config.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except ValueError as error:
        raise DataError(f"{file}: not valid JSON ({on_one_line(error)}). Copy it again.") from None
    if not isinstance(settings, dict):
        raise DataError(f"{file}: expected settings by name, got {type(settings).__name__}. Copy it again.")
    return settings


def _from_vocabulary(file: Path, settings: dict[str, Any]) -> Tokenizer:
    """BERT's WordPiece from vocab.txt, one piece per line."""
    remedy = "Save it as tokenizer.json in an environment with transformers: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)."
    try:
        lines = file.read_text(encoding="utf-8").split("\n")  # not splitlines(): pieces such as U+2028 end a line for it
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 ({on_one_line(error)}). Copy it again.") from None
    family = str(settings.get("tokenizer_class") or "BertTokenizer")
    if family.removesuffix("Fast").removesuffix("Tokenizer") not in _WORDPIECE:
        raise DataError(f"{file.parent}: tokenizer_class '{family}' is not BERT's WordPiece, and there is no tokenizer.json. {remedy}")
    vocabulary = {piece: number for number, piece in enumerate(lines[:-1] if lines[-1] == "" else lines)}
    names = {role: _content(settings.get(f"{role}_token"), f"[{role.upper()}]") for role in ("pad", "unk", "cls", "sep", "mask")}
    missing = [name for name in names.values() if name not in vocabulary]
    if missing:
        raise DataError(f"{file}: piece '{name}' is missing, so this is not BERT's vocabulary. {remedy}" for name in missing)
    extra = settings.get("added_tokens_decoder", {}).values()
    if (file.parent / "added_tokens.json").exists() or any(_content(token, "") not in vocabulary for token in extra):
        raise DataError(f"{file.parent}: adds tokens to vocab.txt, and there is no tokenizer.json. {remedy}")
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token=names["unk"], max_input_chars_per_word=100))
    backend.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names.values()])
    backend.normalizer = normalizers.BertNormalizer()  # cleans, lower-cases, strips accents; the caller applies the settings
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    start, end = names["cls"], names["sep"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{start}:0 $A:0 {end}:0", pair=f"{start}:0 $A:0 {end}:0 $B:1 {end}:1", special_tokens=[(name, vocabulary[name]) for name in (start, end)]
    )
    return backend


def _set_normaliser(normaliser: normalizers.BertNormalizer, settings: dict[str, Any], folder: Path) -> None:
    known = {key: settings[key] for key in _NORMALISES if key in settings}
    wrong = [key for key, value in known.items() if not (isinstance(value, bool) or (value is None and key == "strip_accents"))]
    if wrong:
        raise DataError(f"{folder / 'tokenizer_config.json'} {key}: expected true or false, got {known[key]!r}. Correct it." for key in wrong)
    for key, value in known.items():
        setattr(normaliser, _NORMALISES[key], value)


def _content(token: Any, otherwise: str) -> str:
    """The word of a special token, which is a string or, in newer files, a mapping."""
    return str(token["content"] if isinstance(token, dict) else token) if token else otherwise
