"""From pairs to groups: union-find that weighs the evidence, so that one weak link never glues two groups."""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from excite.audit.duplicates.pair import Pair

BITS_FOR_ONE = 2.0
"""Evidence that a single image needs to join a group: a confidence of 0.75."""
STRONG_BITS = 6.0
"""A join on less than this counts as weak: a confidence of 0.984."""
GIANT_SHARE, GIANT_SIZE = 0.1, 30
"""A found group with more than both this share of all images and this many of them is flagged."""

_CERTAIN = 64.0  # bits that a confidence of 1 counts for


@dataclass(frozen=True)
class Grouping:
    """Images put into groups.

    Args:
        groups: a group number per image, numbered by first member.
        used: the pairs inside a group.
        doubtful: the pairs across groups: too weak alone, or a person keeps their groups apart.
        giant: numbers of groups so large that they may be a chain of errors.
    """

    groups: tuple[int, ...]
    used: tuple[Pair, ...]
    doubtful: tuple[Pair, ...]
    oversized: tuple[int, ...]


def bits(confidence: float) -> float:
    """Evidence as a logarithm, which adds up over pairs: 0.5 is one bit, 0.75 two, 0.999 ten."""
    return _CERTAIN if confidence >= 1 else min(_CERTAIN, -math.log2(1 - confidence))


def needed(smaller: int, images: int, weak: int) -> float:
    """Bits that join two groups.

    One more for every doubling of the smaller group, and one more once as many images hang on weak joins as
    on strong ones: else pictures that each look a little like the next, slices of a scan, would form a chain.

    Args:
        smaller: images of the smaller group.
        images: of both groups.
        weak: joins in both that were weak.
    """
    return BITS_FOR_ONE + math.log2(smaller) + math.log2(1 + weak / (images - weak))


def group_images(
    n: int,
    pairs: Sequence[Pair],
    *,
    known: Sequence[str] | None = None,
    rejected: Collection[tuple[int, int]] = (),
    accepted: Collection[tuple[int, int]] = (),
) -> Grouping:
    """Groups from pairs, from groups that the user knows, and from a person's decisions.

    Known groups and accepted pairs are joined whatever the evidence. Then the two groups with most evidence
    between them, all their pairs added up, are joined, again and again, while it is enough for their size
    and no rejected pair lies between them.

    Args:
        n: images.
        known: a group name per image, "" where unknown.
        rejected: pairs of images that are kept apart, unless known groups or accepted pairs join them.
    """
    groups = UnionFind(n)
    names: dict[str, int] = {}
    for image, name in enumerate(known or ()):
        if name:
            groups.join(names.setdefault(name, image), image)
    for a, b in accepted:
        groups.join(a, b)
    stated = Counter(groups.find(image) for image in range(n))
    apart = {(min(pair), max(pair)) for pair in rejected}
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
        if size > max(GIANT_SIZE, GIANT_SHARE * n) and size > largest_stated[number]
    )
    return Grouping(numbered, used, doubtful, oversized)


class UnionFind:
    """Disjoint sets of 0 .. n-1, by size, with path halving (Tarjan, van Leeuwen 1984)."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))
        self._size = [1] * n

    def find(self, item: int) -> int:
        """The representative of the set."""
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, a: int, b: int) -> int:
        """Make one set of two; its representative."""
        a, b = self.find(a), self.find(b)
        if a == b:
            return a
        if self._size[a] < self._size[b]:
            a, b = b, a
        self._parent[b] = a
        self._size[a] += self._size[b]
        return a

    def size(self, item: int) -> int:
        """How many are in the set."""
        return self._size[self.find(item)]


class _Joining:
    """Joins groups by the evidence between them, most first."""

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
            if -value >= needed(min(sizes), sum(sizes), self._weak[a] + self._weak[b]):
                self._merge(a, b, weak=-value < STRONG_BITS)

    def _merge(self, a: int, b: int, *, weak: bool) -> None:
        kept = self._groups.join(a, b)
        gone = b if kept == a else a
        self._weak[kept] += self._weak.pop(gone, 0) + weak
        others = self._evidence.pop(gone)
        self._evidence[kept].pop(gone, None)
        for other, value in others.items():
            self._evidence[other].pop(gone, None)
            if other != kept:
                self._add(kept, other, value)
                heapq.heappush(self._queue, (-self._evidence[kept][other], kept, other))
        for other in self._apart.pop(gone, set()):
            self._apart[other].discard(gone)
            self._keep_apart(kept, other)

    def _add(self, a: int, b: int, value: float) -> None:
        if a != b:
            total = self._evidence[a].get(b, 0.0) + value
            self._evidence[a][b] = self._evidence[b][a] = total

    def _keep_apart(self, a: int, b: int) -> None:
        if a != b:
            self._apart[a].add(b)
            self._apart[b].add(a)
