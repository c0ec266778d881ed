"""Groups from pairs: a union-find that weighs evidence, so that one weak pair never joins two groups."""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from excite.audit.duplicates.pair import Pair

BITS_FOR_ONE = 2.0
"""Evidence in bits that joins a single image to a group: a confidence of 0.75."""
STRONG_BITS = 6.0
"""A join with less evidence is weak: a confidence of 0.984."""
OVERSIZED_FRACTION, OVERSIZED_IMAGES = 0.1, 30
"""A group with more than this fraction of all images, and more than this number, is reported as oversized."""

_CERTAIN = 64.0  # bits of a confidence of 1


@dataclass(frozen=True)
class Grouping:
    """A partition of images into groups.

    Args:
        groups: number of the group of each image, in the order of first members.
        used: pairs inside a group.
        doubtful: pairs between groups: weak evidence, or rejected by a reviewer.
        oversized: numbers of groups so large that they may be a chain of false pairs.
    """

    groups: tuple[int, ...]
    used: tuple[Pair, ...]
    doubtful: tuple[Pair, ...]
    oversized: tuple[int, ...]


def bits(confidence: float) -> float:
    """Evidence in bits, which adds up over pairs: a confidence of 0.5 is 1 bit, 0.75 is 2, 0.999 is 10."""
    return _CERTAIN if confidence >= 1 else min(_CERTAIN, -math.log2(1 - confidence))


def required_bits(smaller: int, images: int, weak: int) -> float:
    """The evidence in bits that joins two groups.

    One more for every doubling of the smaller group, and one more if as many joins are weak as strong:
    otherwise images that each resemble the next, such as slices of a scan, would form a chain.

    Args:
        smaller: images of the smaller group.
        images: of both groups.
        weak: number of weak joins in both.
    """
    return BITS_FOR_ONE + math.log2(smaller) + math.log2(1 + weak / (images - weak))


def group_images(
    n: int,
    pairs: Sequence[Pair],
    *,
    known: Sequence[str] | None = None,
    cannot_link: Collection[tuple[int, int]] = (),
    must_link: Collection[tuple[int, int]] = (),
) -> Grouping:
    """Group images by pairs, by known groups, and by constraints.

    Known groups and ``must_link`` pairs are joined regardless of evidence. Then the two groups with the most
    evidence between them, summed over their pairs, are joined repeatedly, as long as it suffices for their
    size and no ``cannot_link`` pair is between them.

    Args:
        n: number of images.
        pairs: near-duplicates with their confidence.
        known: name of the group of each image, "" if unknown.
        cannot_link: pairs that stay apart, unless known groups or ``must_link`` pairs join them.
        must_link: pairs that are joined.
    """
    groups = UnionFind(n)
    names: dict[str, int] = {}
    for image, name in enumerate(known or ()):
        if name:
            groups.join(names.setdefault(name, image), image)
    for a, b in must_link:
        groups.join(a, b)
    stated = Counter(groups.find(image) for image in range(n))
    apart = {(min(pair), max(pair)) for pair in cannot_link}
    _Joining(groups, [pair for pair in pairs if (pair.a, pair.b) not in apart], apart).run()
    roots = [groups.find(image) for image in range(n)]
    numbers: dict[int, int] = {}
    numbered = tuple(numbers.setdefault(root, len(numbers)) for root in roots)
    largest_stated: Counter[int] = Counter()
    for root, size in stated.items():
        number = numbered[root]
        largest_stated[number] = max(largest_stated[number], size)
    used = tuple(p for p in pairs if numbered[p.a] == numbered[p.b] and (p.a, p.b) not in apart)
    doubtful = tuple(p for p in pairs if numbered[p.a] != numbered[p.b])
    oversized = tuple(
        number
        for number, size in sorted(Counter(numbered).items())
        if size > max(OVERSIZED_IMAGES, OVERSIZED_FRACTION * n) and size > largest_stated[number]
    )
    return Grouping(numbered, used, doubtful, oversized)


class UnionFind:
    """Disjoint sets of 0 .. n-1, by size, with path halving (Tarjan, van Leeuwen 1984)."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))
        self._size = [1] * n

    def find(self, item: int) -> int:
        """The representative of the set of an item."""
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, a: int, b: int) -> int:
        """Merge two sets; returns the representative."""
        a, b = self.find(a), self.find(b)
        if a == b:
            return a
        if self._size[a] < self._size[b]:
            a, b = b, a
        self._parent[b] = a
        self._size[a] += self._size[b]
        return a

    def size(self, item: int) -> int:
        """Number of items in the set of an item."""
        return self._size[self.find(item)]


class _Joining:
    """Joins groups by the evidence between them, the most first."""

    def __init__(self, groups: UnionFind, pairs: Iterable[Pair], apart: Iterable[tuple[int, int]]) -> None:
        self._groups = groups
        self._evidence: dict[int, dict[int, float]] = defaultdict(dict)
        self._apart: dict[int, set[int]] = defaultdict(set)
        self._weak: Counter[int] = Counter()
        self._queue: list[tuple[float, int, int]] = []
        for pair in pairs:
            self._add(groups.find(pair.a), groups.find(pair.b), bits(pair.confidence))
        for a, b in apart:
            self._keep_apart(groups.find(a), groups.find(b))
        for a, others in self._evidence.items():
            self._queue += [(-value, a, b) for b, value in others.items() if a < b]

    def run(self) -> None:
        heapq.heapify(self._queue)
        while self._queue:
            value, a, b = heapq.heappop(self._queue)
            stale = self._evidence[a].get(b) != -value
            if stale or b in self._apart[a]:
                continue
            sizes = self._groups.size(a), self._groups.size(b)
            if -value >= required_bits(min(sizes), sum(sizes), self._weak[a] + self._weak[b]):
                self._merge(a, b, weak=-value < STRONG_BITS)

    def _merge(self, a: int, b: int, *, weak: bool) -> None:
        root = self._groups.join(a, b)
        merged = b if root == a else a
        self._weak[root] += self._weak.pop(merged, 0) + weak
        others = self._evidence.pop(merged)
        self._evidence[root].pop(merged, None)
        for other, value in others.items():
            self._evidence[other].pop(merged, None)
            if other != root:
                self._add(root, other, value)
                heapq.heappush(self._queue, (-self._evidence[root][other], root, other))
        for other in self._apart.pop(merged, set()):
            self._apart[other].discard(merged)
            self._keep_apart(root, other)

    def _add(self, a: int, b: int, value: float) -> None:
        if a != b:
            total = self._evidence[a].get(b, 0.0) + value
            self._evidence[a][b] = self._evidence[b][a] = total

    def _keep_apart(self, a: int, b: int) -> None:
        if a != b:
            self._apart[a].add(b)
            self._apart[b].add(a)
