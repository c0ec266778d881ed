"""Find file names such as patient_photo_copy, and propose a --group-pattern."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from statistics import median
from typing import Any

from excite.system.text import command_line

FEWEST_FULL = 0.8
"""Smallest fraction of groups with at least two images; numbers that agree by chance have fewer."""

MOST_MIXED = 0.5
"""Largest fraction of groups with several labels; if numbers restart in every class, most groups have."""

LARGEST = 0.5  # largest fraction of images in one group; beyond it, a prefix is a title, not a patient

# Exporters and file managers append marks to the name of the original. The marks of a file manager count only
# next to the original: "image (1).jpg" to "image (90).jpg" are ninety photos.
_COPY = r"(?:[ _-]*\(\d+\)|[ _-]+(?i:copy|kopie|copie|copia)(?:[ _-]*\d+)?)"
_CHANGES = "aug|rot|flip|hflip|vflip|mirror|crop|noise|blur|bright|shift|zoom"
_MARKS = {
    "exports of one picture (Roboflow)": r"^(.+?)[._](?:jpe?g|png)\.rf\.",
    "augmented copies": rf"^(.+?)(?:[_-](?i:{_CHANGES})[a-z]*[_-]?\d*)*\.[^.]+$",
    "copies beside their original": rf"^(.+?){_COPY}*\.[^.]+$",
}
_SEPARATOR = re.compile(r"[_\-. ]")
_PART = re.compile(r"([A-Za-z]*)(\d+)")
_DAY = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])")


@dataclass(frozen=True)
class NamePattern:
    """A regular expression for ``--group-pattern``, and the groups of file names that it forms.

    Args:
        text: the observation, in one line.
    """

    pattern: str
    groups: int
    images: int
    text: str

    def __str__(self) -> str:
        return f"{self.text}; use {command_line('--group-pattern', self.pattern)}"

    def to_dict(self) -> dict[str, Any]:
        """The proposal as in ``audit.json``."""
        return {"pattern": self.pattern, "groups": self.groups, "images": self.images, "text": self.text}


def propose_pattern(paths: Sequence[str], labels: Sequence[str]) -> NamePattern | None:
    """The coarsest grouping of the file names that looks like photos or patients, or None.

    Names are cut at their first, second, ... separator. The part before the cut must contain a number, must
    not be a date, and must be repeated: IMG_0001, hashes, and plain numbers give no pattern. The pattern is
    only proposed, since it can be wrong.

    Args:
        paths: of the images; folders are ignored.
        labels: class of each image.
    """
    names = [PurePath(path).name for path in paths]
    if len(names) < 4:  # two groups of two
        return None
    for cut in range(1, 5):
        proposal = _prefixes(names, labels, cut)
        if proposal is not None:
            return proposal
    for title, expression in _MARKS.items():
        proposal = _marked(names, labels, title, expression)
        if proposal is not None:
            return proposal
    return None


def _prefixes(names: Sequence[str], labels: Sequence[str], cut: int) -> NamePattern | None:
    parts = [_SEPARATOR.split(PurePath(name).stem) for name in names]
    if min(map(len, parts)) <= cut:
        return None
    last = [each[cut - 1] for each in parts]
    if not all(any(c.isdigit() for c in part) for part in last) or all(map(_DAY.fullmatch, last)):
        return None
    heads = [_SEPARATOR.split(name, cut) for name in names]
    prefixes = [name[: len(name) - len(head[-1]) - 1] for name, head in zip(names, heads, strict=True)]
    sizes = _plausible(prefixes, labels)
    if sizes is None:
        return None
    separators = {name[len(prefix)] for name, prefix in zip(names, prefixes, strict=True)}
    pattern = _expression(last if cut == 1 else None, cut, separators)
    if [_first(pattern, name) for name in names] != prefixes:
        pattern = _expression(None, cut, separators)
    finer = len({tuple(each[: cut + 1]) for each in parts})
    example = names[0]
    text = f"{example}: {len(sizes)} prefixes of {_between(sizes)}"
    if len(sizes) < finer < len(names):
        counts = list(Counter(tuple(each[: cut + 1]) for each in parts).values())
        text += f", {finer} of two parts with {_between(counts)}"
    return NamePattern(pattern, len(sizes), len(names), text)


def _expression(firsts: Sequence[str] | None, cut: int, separators: set[str]) -> str:
    """A regular expression for the first ``cut`` parts of a name; a few different letters are listed."""
    ends = "".join(sorted(separators, key="_. -".index))  # in a character set, a hyphen must be last
    end = f"[{ends}]" if len(ends) > 1 else ends.replace(".", r"\.")
    matches = [_PART.fullmatch(part) for part in firsts or ()]
    letters = sorted({match[1] for match in matches if match}, key=lambda word: (len(word), word))
    if not matches or None in matches or len(letters) > 4:
        part = "[^_. -]+"
        return f"^({part}{f'(?:[_. -]{part})' * (cut - 1)}){end}"
    if len(letters) == 2 and letters[1].endswith(letters[0]):
        extra = letters[1].removesuffix(letters[0])
        lead = (f"{extra}?" if len(extra) == 1 else f"(?:{extra})?") + letters[0]
    else:
        lead = letters[0] if len(letters) == 1 else f"(?:{'|'.join(letters)})"
    return rf"^({lead}\d+){end}"


def _marked(names: Sequence[str], labels: Sequence[str], title: str, pattern: str) -> NamePattern | None:
    stems = [_first(pattern, name) for name in names]
    if None in stems:
        return None
    members = defaultdict(list)
    for stem, name in zip(stems, names, strict=True):
        members[stem].append(PurePath(name).stem)
    shared = {stem: stem_names for stem, stem_names in members.items() if len(stem_names) > 1}
    if "beside" in title:
        # Without the original, marks are numbers of photos. Equal names are in different folders.
        if any(
            stem not in stem_names or len(set(stem_names)) < len(stem_names)
            for stem, stem_names in shared.items()
        ):
            return None
    elif _plausible([str(stem) for stem in stems], labels, fewest_full=0.0) is None:
        return None
    if not shared or len(members) < 2:
        return None
    stem, stem_names = max(shared.items(), key=lambda item: len(item[1]))
    images = sum(map(len, shared.values()))
    text = f"{title}: {images} names share {len(shared)} stems, such as {stem} ({len(stem_names)} images)"
    return NamePattern(pattern, len(members), len(names), text)


def _plausible(
    keys: Sequence[str], labels: Sequence[str], *, fewest_full: float = FEWEST_FULL
) -> list[int] | None:
    """Sizes of the groups with equal keys, or None if they do not look like groups of images."""
    labels_of = defaultdict(list)
    for key, label in zip(keys, labels, strict=True):
        labels_of[key].append(label)
    sizes = [len(group_labels) for group_labels in labels_of.values()]
    full = sum(size > 1 for size in sizes)
    mixed = sum(len(set(group_labels)) > 1 for group_labels in labels_of.values())
    if len(sizes) < 2 or full < max(1, fewest_full * len(sizes)) or max(sizes) > LARGEST * len(keys):
        return None
    # One key per class only repeats the class.
    if mixed > MOST_MIXED * len(sizes) or (mixed == 0 and len(sizes) <= len(set(labels))):
        return None
    return sizes


def _first(pattern: str, name: str) -> str | None:
    match = re.search(pattern, name)
    return match[1] if match else None


def _between(sizes: Sequence[int]) -> str:
    low, high = min(sizes), max(sizes)
    return f"{low} images" if low == high else f"{low} to {high} images (median {median(sizes):g})"
