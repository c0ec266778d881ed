"""Charts as SVG, without a plotting library: a frame with two axes, lines, bands, points and bars.

The style sheet of the page colors them by class: ``s0`` to ``s7`` are strokes of different colors and
dashes, ``f0`` to ``f2`` fills. So charts follow the dark mode of the page, and no information
depends on color alone.
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
    """A fraction as a percentage."""
    return f"{100 * value:.6g} %"


def plain(value: float) -> str:
    """A number with up to six digits."""
    return f"{value:.6g}"


@dataclass(frozen=True)
class Axis:
    """One axis of a chart.

    Args:
        label: quantity and unit.
        low, high: limits.
        ticks: positions of the ticks; empty: round numbers.
        shown: formats a tick.
    """

    label: str
    low: float = 0.0
    high: float = 1.0
    ticks: tuple[float, ...] = ()
    shown: Callable[[float], str] = plain

    def marks(self) -> Sequence[float]:
        """The values with a tick."""
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
    """A chart under construction; later elements are drawn on top.

    Args:
        name: unique on the page; also the name of its CSV file.
        foot: units of free space between the x axis and its labels.
    """

    name: str
    x: Axis
    y: Axis
    height: int = HEIGHT
    foot: int = 0
    parts: list[Markup] = field(default_factory=list)

    def across(self, value: float) -> float:
        """The x coordinate of a value."""
        fraction = (value - self.x.low) / (self.x.high - self.x.low)
        return round(LEFT + fraction * (WIDTH - LEFT - RIGHT), 1)

    def up(self, value: float) -> float:
        """The y coordinate of a value."""
        fraction = (value - self.y.low) / (self.y.high - self.y.low)
        return round(self.base - fraction * (self.base - TOP), 1)

    @property
    def base(self) -> int:
        """The y coordinate of the x axis."""
        return self.height - BOTTOM - self.foot

    def line(self, points: Iterable[tuple[float, float]], style: str) -> None:
        """A line through points in data coordinates, clipped to the frame."""
        path = " ".join(f"{self.across(x):g},{self.up(y):g}" for x, y in points)
        inside = Markup(' clip-path="url(#{}-c)"').format(self.name)
        self.parts.append(Markup('<polyline class="line {}" points="{}"{}/>').format(style, path, inside))

    def band(self, bounds: Sequence[tuple[float, float, float]], style: str) -> None:
        """An area between (x, low, high)."""
        upper = [f"{self.across(x):g},{self.up(high):g}" for x, _, high in bounds]
        lower = [f"{self.across(x):g},{self.up(low):g}" for x, low, _ in reversed(bounds)]
        text = '<polygon class="band {}" points="{}" clip-path="url(#{}-c)"/>'
        self.parts.append(Markup(text).format(style, " ".join(upper + lower), self.name))

    def point(self, x: float, y: float, style: str, label: str, radius: float = 3.5) -> None:
        """A dot with a tooltip."""
        text = '<circle class="{}" cx="{:g}" cy="{:g}" r="{:g}"><title>{}</title></circle>'
        self.parts.append(Markup(text).format(style, self.across(x), self.up(y), radius, label))

    def whisker(self, x: float, low: float, high: float, style: str) -> None:
        """A vertical interval at x."""
        at, top, bottom = self.across(x), self.up(high), self.up(low)
        path = f"M{at:g} {top:g}V{bottom:g}M{at - 3:g} {top:g}h6M{at - 3:g} {bottom:g}h6"
        self.parts.append(Markup('<path class="whisker {}" d="{}"/>').format(style, path))

    def bar(self, left: float, right: float, fraction: float, label: str) -> None:
        """A bar with a label at the bottom of the chart; its height is a fraction of the foot."""
        height = self.foot - 16  # space for the label above it
        high = round(max(fraction * height, 0.5), 1)
        start, end = self.across(left), self.across(right)
        bottom = self.height - BOTTOM
        self.parts.append(
            Markup('<rect class="bar" x="{:g}" y="{:g}" width="{:g}" height="{:g}"/>').format(
                start + 0.5, bottom - high, max(end - start - 1, 1), high
            )
        )
        self.words((start + end) / 2, bottom - high - 3, label, "tiny middle")

    def words(self, x: float, y: float, text: str, style: str) -> None:
        """Text at a position in units of the drawing."""
        element = Markup('<text class="{}" x="{:g}" y="{:g}">{}</text>').format(
            style, round(x, 1), round(y, 1), text
        )
        self.parts.append(element)

    def drawn(self, title: str, description: str) -> Markup:
        """The chart as an SVG element with title and description for screen readers."""
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
    """An SVG element with title and description."""
    head = (
        '<svg class="plot" role="img" aria-labelledby="{0}-t {0}-d" viewBox="0 0 {1} {2}">'
        '<title id="{0}-t">{3}</title><desc id="{0}-d">{4}</desc>'
    )
    inside = Markup("").join(parts)
    return Markup(head).format(name, width, height, title, description) + inside + Markup("</svg>")


def swatch(style: str) -> Markup:
    """A short line for a legend."""
    text = (
        '<svg class="swatch" viewBox="0 0 30 10" aria-hidden="true"><path class="line {}" d="M1 5h28"/></svg>'
    )
    return Markup(text).format(style)


def _text(style: str, x: float, y: float, text: str) -> Markup:
    return Markup('<text class="{}" x="{:g}" y="{:g}">{}</text>').format(
        style, round(x, 1), round(y, 1), escape(text)
    )
