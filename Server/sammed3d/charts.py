"""Charts as SVG text, for reports and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

COLORS = ("#0a84ff", "#8e8e93", "#bf5af2", "#ff9f0a")
WIDTH, HEIGHT, LEFT, BOTTOM = 460, 280, 56, 40
MOST_TICKS = 10


def line_chart(curves: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str) -> str:
    """Draw curves.

    Args:
        curves: points (x, y) of each curve, by its name; x are whole numbers from 1, y between 0 and 1.
        across: label of the x axis.
        up: label of the y axis.
    """
    longest = max((x for curve in curves.values() for x, _ in curve), default=1.0)

    def place(x: float, y: float) -> tuple[float, float]:
        share = (x - 1) / max(longest - 1, 1)
        return LEFT + (WIDTH - LEFT - 12) * share, (HEIGHT - BOTTOM) * (1 - y) + 8

    size = f"viewBox='0 0 {WIDTH} {HEIGHT + 20 * len(curves)}' width='{WIDTH}'"
    named = f"role='img' aria-label='{escape(f'{up}, by {across}')}'"
    drawn = [f"<svg xmlns='http://www.w3.org/2000/svg' {size} font-family='sans-serif' {named}>"]
    drawn.append("<rect width='100%' height='100%' fill='#fff'/>")  # pages and viewers may be dark
    for tick in (0, 0.25, 0.5, 0.75, 1):
        _, y = place(1, tick)
        drawn.append(f"<line x1='{LEFT}' x2='{WIDTH - 12}' y1='{y:.1f}' y2='{y:.1f}' stroke='#d2d2d7'/>")
        drawn.append(_text(LEFT - 8, y + 4, f"{tick:g}", 11, "end"))
    step = max(1, round(longest / MOST_TICKS))
    for n in range(1, int(longest) + 1, step):
        drawn.append(_text(place(n, 0)[0], HEIGHT - BOTTOM + 24, str(n), 11))
    drawn.append(_text((LEFT + WIDTH) / 2, HEIGHT - 2, across, 12))
    middle = HEIGHT / 2 - 16
    drawn.append(f"<g transform='rotate(-90 12 {middle:.0f})'>{_text(12, middle, up, 12)}</g>")
    for n, (name, curve) in enumerate(curves.items()):
        color, y = COLORS[n % len(COLORS)], HEIGHT + 16 + 20 * n
        points = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in curve)
        if len(curve) == 1:  # no line
            across_at, up_at = place(*curve[0])
            drawn.append(f"<circle cx='{across_at:.1f}' cy='{up_at:.1f}' r='4' fill='{color}'/>")
        drawn.append(f"<polyline points='{points}' fill='none' stroke='{color}' stroke-width='2.5'/>")
        drawn.append(f"<rect x='{LEFT}' y='{y - 9}' width='14' height='4' fill='{color}'/>")
        drawn.append(_text(LEFT + 22, y - 3, name, 12, "start"))
    return "".join(drawn) + "</svg>"


def _text(x: float, y: float, text: str, size: int, anchor: str = "middle") -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' text-anchor='{anchor}'>{escape(text)}</text>"
