"""Charts: what a reader needs is there, apart from the rest, on any page."""

import re
import xml.etree.ElementTree as ET

from sammed3d.charts import line_chart

DIGIT, DESCENT = 0.6, 0.25
"""About how wide digits are, and how far letters reach below their line, as shares of their size."""


def elements(chart, kind):
    return [e for e in ET.fromstring(chart).iter() if e.tag.endswith(kind)]  # noqa: S314 - our own text


def test_the_label_of_the_y_axis_is_apart_from_its_numbers():
    chart = line_chart({"model": [(1, 0.5), (2, 0.8)]}, "clicks", "Dice")
    label = float(re.search(r"rotate\(-90 ([\d.]+) ", chart)[1])
    numbers = [e for e in elements(chart, "text") if e.get("text-anchor") == "end"]
    assert len(numbers) == 5
    for e in numbers:
        size = float(e.get("font-size"))
        assert float(e.get("x")) - len(e.text) * DIGIT * size > label + DESCENT * 12 + 4


def test_it_can_be_read_on_dark_pages_and_is_named():
    chart = line_chart({"a & b": [(1, 0.5), (2, 0.8)]}, "clicks", "<Dice>")
    assert elements(chart, "rect")[0].get("fill") == "#fff"
    assert ET.fromstring(chart).get("aria-label") == "<Dice>, by clicks"  # noqa: S314 - our own text


def test_a_single_point_is_seen():
    assert len(elements(line_chart({"model": [(1, 0.5)]}, "clicks", "Dice"), "circle")) == 1
    assert not elements(line_chart({"model": [(1, 0.5), (2, 0.5)]}, "clicks", "Dice"), "circle")
