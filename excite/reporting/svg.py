"""Charts as SVG, drawn without a library: a frame with two axes, and lines, bands, points and bars in it.

The page's style sheet colors them by class: ``s0`` to ``s7`` are strokes with a color and a dash of their
own, ``f0`` to ``f2`` fills; so a chart follows the page into the dark, and nothing is told by color alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

STYLES = 8
WIDTH, HEIGHT = 380, 300  # units; a phone of 360 pixels shows about one a pixel, so 11 units are readable
LEFT, RIGHT, TOP, BOTTOM = 56, 18, 10, 40


def percent(value: float) -> str:
    return f"{100 * value:.6g} %"


def plain(value: float) -> str:
    return f"{value:.6g}"


@dataclass(frozen=True)
class Axis:
    """One axis of a chart.

    Args:
        label: what it shows, with the unit.
        low, high: where it begins and ends.
        ticks: where it is marked; none given: at round numbers.
        shown: a tick's text.
    """

    label: str
    low: float = 0.0
    high: float = 1.0
    ticks: tuple[float, ...] = ()
    shown: Callable[[float], str] = plain

    def marks(self) -> Sequence[float]:
        return self.ticks or round_steps(self.low, self.high)


def round_steps(low: float, high: float, most: int = 6) -> list[float]:
    """At most ``most`` numbers between two bounds, 1, 2 or 5 times a power of ten apart."""
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


@dataclass
class Plot:
    """A chart in the making; what is drawn later lies on top.

    Args:
        name: unique on the page; the name of its CSV file, too.
        foot: units kept free below the axis of x, between it and its marks.
    """

    name: str
    x: Axis
    y: Axis
    height: int = HEIGHT
    foot: int = 0
    parts: list[Markup] = field(default_factory=list)

    def across(self, value: float) -> float:
        share = (value - self.x.low) / (self.x.high - self.x.low)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def up(self, value: float) -> float:
        share = (value - self.y.low) / (self.y.high - self.y.low)
        return round(self.base - share * (self.base - TOP), 1)

    @property
    def base(self) -> int:
        return self.height - BOTTOM - self.foot

    def line(self, points: Iterable[tuple[float, float]], style: str) -> None:
        """A line through points in the axes' units; what lies outside the frame is cut off."""
        path = " ".join(f"{self.across(x):g},{self.up(y):g}" for x, y in points)
        inside = Markup(' clip-path="url(#{}-c)"').format(self.name)
        self.parts.append(Markup('<polyline class="line {}" points="{}"{}/>').format(style, path, inside))

    def band(self, bounds: Sequence[tuple[float, float, float]], style: str) -> None:
        """An area between (x, low, high)."""
        there = [f"{self.across(x):g},{self.up(high):g}" for x, _, high in bounds]
        back = [f"{self.across(x):g},{self.up(low):g}" for x, low, _ in reversed(bounds)]
        text = '<polygon class="band {}" points="{}" clip-path="url(#{}-c)"/>'
        self.parts.append(Markup(text).format(style, " ".join(there + back), self.name))

    def point(self, x: float, y: float, style: str, said: str, radius: float = 3.5) -> None:
        """A dot that says something when it is pointed at."""
        text = '<circle class="{}" cx="{:g}" cy="{:g}" r="{:g}"><title>{}</title></circle>'
        self.parts.append(Markup(text).format(style, self.across(x), self.up(y), radius, said))

    def whisker(self, x: float, low: float, high: float, style: str) -> None:
        """An interval upright at x."""
        at, top, bottom = self.across(x), self.up(high), self.up(low)
        path = f"M{at:g} {top:g}V{bottom:g}M{at - 3:g} {top:g}h6M{at - 3:g} {bottom:g}h6"
        self.parts.append(Markup('<path class="whisker {}" d="{}"/>').format(style, path))

    def bar(self, left: float, right: float, share: float, said: str) -> None:
        """A bar in the foot of the chart, from one x to another, as high as its share of the foot."""
        room = self.foot - 16  # the number stands above it
        high = round(max(share * room, 0.5), 1)
        start, end = self.across(left), self.across(right)
        bottom = self.height - BOTTOM
        self.parts.append(
            Markup('<rect class="bar" x="{:g}" y="{:g}" width="{:g}" height="{:g}"/>').format(
                start + 0.5, bottom - high, max(end - start - 1, 1), high
            )
        )
        self.words((start + end) / 2, bottom - high - 3, said, "tiny middle")

    def words(self, x: float, y: float, text: str, style: str) -> None:
        """Text at a place in units of the drawing."""
        said = Markup('<text class="{}" x="{:g}" y="{:g}">{}</text>').format(
            style, round(x, 1), round(y, 1), text
        )
        self.parts.append(said)

    def drawn(self, title: str, description: str) -> Markup:
        """The chart as an element that a screen reader announces by title and description."""
        frame = []
        right, bottom = WIDTH - RIGHT, self.height - BOTTOM
        for value in self.y.marks():
            at = self.up(value)
            frame.append(Markup('<path class="grid" d="M{} {:g}H{}"/>').format(LEFT, at, right))
            frame.append(_text("end", LEFT - 6, at + 4, self.y.shown(value)))
        for value in self.x.marks():
            at = self.across(value)
            frame.append(Markup('<path class="grid" d="M{:g} {}V{}"/>').format(at, TOP, self.base))
            frame.append(_text("middle", at, bottom + 15, self.x.shown(value)))
        frame.append(_text("middle axis", (LEFT + right) / 2, self.height - 6, self.x.label))
        middle = (TOP + self.base) / 2
        upright = '<text class="middle axis" transform="translate(11 {:g}) rotate(-90)">{}</text>'
        frame.append(Markup(upright).format(middle, self.y.label))
        clip = Markup('<clipPath id="{}-c"><rect x="{}" y="{}" width="{}" height="{}"/></clipPath>').format(
            self.name, LEFT - 2, TOP - 2, right - LEFT + 4, self.base - TOP + 4
        )
        return framed(self.name, title, description, WIDTH, self.height, [clip, *frame, *self.parts])


def framed(
    name: str, title: str, description: str, width: int, height: int, parts: Iterable[Markup]
) -> Markup:
    """An svg element with title and description."""
    head = (
        '<svg class="plot" role="img" aria-labeledby="{0}-t {0}-d" viewBox="0 0 {1} {2}">'
        '<title id="{0}-t">{3}</title><desc id="{0}-d">{4}</desc>'
    )
    inside = Markup("").join(parts)
    return Markup(head).format(name, width, height, title, description) + inside + Markup("</svg>")


def swatch(style: str) -> Markup:
    """A short piece of a line for a legend."""
    text = (
        '<svg class="swatch" viewBox="0 0 30 10" aria-hidden="true"><path class="line {}" d="M1 5h28"/></svg>'
    )
    return Markup(text).format(style)


def _text(style: str, x: float, y: float, text: str) -> Markup:
    return Markup('<text class="{}" x="{:g}" y="{:g}">{}</text>').format(
        style, round(x, 1), round(y, 1), escape(text)
    )
