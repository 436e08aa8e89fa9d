"""The report of an evaluation: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, fields
from html import escape
from pathlib import Path

from sammed3d.charts import line_chart
from sammed3d.core.mask import millilitres
from sammed3d.evaluation.results import Evaluation, Score
from sammed3d.files.outputs import write_rows, write_text

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1d1d1f; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .25rem .75rem; text-align: right; }
th { border-bottom: 1px solid #86868b; font-weight: 600; } td:first-child, th:first-child { text-align: left; }
tr:nth-child(even) td { background: #f5f5f7; } figure { display: inline-block; margin: .5rem; vertical-align: top; }
figcaption { font-size: 13px; max-width: 22rem; } .note { color: #6e6e73; }
"""


FILES = ("scores.csv", "summary.json", "report.html")
"""What is written."""


def write(result: Evaluation, folder: Path) -> None:
    """Write `scores.csv` (a line for each score), `summary.json` and `report.html`.

    Raises:
        VolumeError: they cannot be written.
    """
    write_rows(folder / "scores.csv", [f.name for f in fields(Score)], map(asdict, result.scores))
    write_text(folder / "summary.json", json.dumps(result.summary(), indent=2))
    write_text(folder / "report.html", html(result))


def html(result: Evaluation) -> str:
    """Write the page: means, curves, pictures of the best, the median and the worst, and every structure."""
    model = result.methods[0] if result.methods else result.model
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(result.model)}</title>",
        f"<style>{STYLE}</style><h1>{escape(result.model)}</h1>",
        f"<p>Protocol <b>{result.protocol.name}</b>, {len(result.structures)} structures, seed {result.seed}. "
        "<span class='note'>Research software: not for clinical decisions.</span></p>",
        _means(result),
        line_chart({m: list(enumerate(result.curve(m), 1)) for m in result.methods}, "clicks", "mean Dice"),
        line_chart({m: list(enumerate(result.curve(m, "nsd"), 1)) for m in result.methods}, "clicks", "mean NSD, 2 mm"),
        _pictures(result, model),
        _structures(result, model),
    ]
    if result.failures:
        parts.append("<h2>Not measured</h2><ul>" + "".join(f"<li>{escape(f)}</li>" for f in result.failures) + "</ul>")
    for why, names in result.left_out.items():
        shown = escape("; ".join(names))
        parts.append(f"<h2>Left out: {escape(why)}</h2><p class='note'>{len(names)}: {shown}</p>")
    return "\n".join(parts) + "</html>\n"


def _means(result: Evaluation) -> str:
    at = result.at
    ends = list(dict.fromkeys((at[0], at[-1])))
    head = "".join(f"<th>Dice at {n}</th>" for n in at) + "".join(f"<th>NSD at {n}</th>" for n in ends)
    rows = []
    for method, values in result.summary()["methods"].items():
        cells = [values["dice"].get(str(n)) for n in at] + [values["nsd"].get(str(n)) for n in ends]
        best = [values["best_of_clicks"]] if result.protocol.best_of_clicks else []
        extra = [*best, values["dice_area"], values["nsd_area"]]
        shown = "".join(f"<td>{'' if v is None else f'{v:.3f}'}</td>" for v in [*cells, *extra])
        rows.append(f"<tr><td>{escape(method)}</td>{shown}</tr>")
    column, note = "", ""
    if result.protocol.best_of_clicks:
        column = "<th>best of clicks</th>"
        note = "Best of clicks: the best Dice of all clicks, an oracle that this protocol's tables report. "
    return (
        f"<h2>Means</h2><table><tr><th>method</th>{head}{column}<th>Dice area</th><th>NSD area</th></tr>"
        + "".join(rows)
        + f"</table><p class='note'>NSD: share of the surface within 2 mm. {note}Areas: under the curve over the "
        "clicks.</p>"
    )


def _pictures(result: Evaluation, model: str) -> str:
    ranked = sorted(
        (which for which in result.structures if which in result.pictures),
        key=lambda which: result.of(model, *which)[-1],
    )
    if not ranked:
        return ""
    chosen = {"best": ranked[-1], "median": ranked[len(ranked) // 2], "worst": ranked[0]}
    figures = []
    for title, which in chosen.items():
        data = base64.b64encode(result.pictures[which]).decode()
        score = result.of(model, *which)[-1]
        figures.append(
            f"<figure><img alt='' src='data:image/png;base64,{data}'><figcaption><b>{title}</b>: {escape(which[1])}, "
            f"{escape(which[0])}; Dice {score:.2f} after the last click</figcaption></figure>"
        )
    return (
        "<h2>Pictures</h2><p class='note'>Orange: the mask. Green: the reference. Blue and red: positive and negative "
        "clicks, small on other slices.</p>" + "".join(figures)
    )


def _structures(result: Evaluation, model: str) -> str:
    at, methods = result.at, result.methods
    sizes = {(s.case, s.structure): s.ml for s in result.scores}
    rows = []
    for which in result.structures:
        cells = []
        for method in methods:
            curve = result.of(method, *which)
            cells += [f"<td>{curve[n - 1]:.2f}</td>" if n <= len(curve) else "<td></td>" for n in at]
        error = result.of(model, *which, metric="volume_error")[-1]
        rows.append(
            f"<tr><td>{escape(which[1])}</td><td>{escape(which[0])}</td><td>{millilitres(sizes[which]).split()[0]}</td>{''.join(cells)}"
            f"<td>{100 * error:+.0f} %</td></tr>"
        )
    head = "".join(f"<th>{escape(m[:18])} {n}</th>" for m in methods for n in at)
    return (
        f"<h2>Structures</h2><table><tr><th>structure</th><th>case</th><th>ml</th>{head}<th>volume error</th></tr>"
        + "".join(rows)
        + "</table>"
    )
