"""The report of an evaluation: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import csv
import json
from dataclasses import asdict, fields
from html import escape
from pathlib import Path

from sammed3d.charts import line_chart
from sammed3d.evaluation.results import Evaluation, Score

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1d1d1f; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .25rem .75rem; text-align: right; }
th { border-bottom: 1px solid #86868b; font-weight: 600; } td:first-child, th:first-child { text-align: left; }
tr:nth-child(even) td { background: #f5f5f7; } figure { display: inline-block; margin: .5rem; vertical-align: top; }
figcaption { font-size: 13px; max-width: 22rem; } .note { color: #6e6e73; }
"""


FILES = ("scores.csv", "summary.json", "report.html")
"""What is written."""


def write(done: Evaluation, folder: Path) -> None:
    """Write `scores.csv` (a line for each score), `summary.json` and `report.html`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Score)])
        writer.writeheader()
        writer.writerows(asdict(score) for score in done.scores)
    (folder / "summary.json").write_text(json.dumps(done.summary(), indent=2), encoding="utf-8")
    (folder / "report.html").write_text(html(done), encoding="utf-8")


def html(done: Evaluation) -> str:
    """Write the page: means, curves, pictures of the best, the median and the worst, and every structure."""
    model = done.methods[0] if done.methods else done.model
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(done.model)}</title>",
        f"<style>{STYLE}</style><h1>{escape(done.model)}</h1>",
        f"<p>Protocol <b>{done.protocol.name}</b>, {len(done.structures)} structures, seed {done.seed}. "
        "<span class='note'>Research software: not for clinical decisions.</span></p>",
        _means(done),
        line_chart({m: list(enumerate(done.curve(m), 1)) for m in done.methods}, "clicks", "mean Dice"),
        line_chart({m: list(enumerate(done.curve(m, "nsd"), 1)) for m in done.methods}, "clicks", "mean NSD, 2 mm"),
        _pictures(done, model),
        _structures(done, model),
    ]
    if done.failures:
        parts.append("<h2>Not measured</h2><ul>" + "".join(f"<li>{escape(f)}</li>" for f in done.failures) + "</ul>")
    for why, names in done.left_out.items():
        shown = escape("; ".join(names))
        parts.append(f"<h2>Left out: {escape(why)}</h2><p class='note'>{len(names)}: {shown}</p>")
    return "\n".join(parts) + "</html>\n"


def _means(done: Evaluation) -> str:
    at = done.protocol.at
    head = "".join(f"<th>Dice at {n}</th>" for n in at) + "".join(f"<th>NSD at {n}</th>" for n in (at[0], at[-1]))
    rows = []
    for method, values in done.summary()["methods"].items():
        cells = [values["dice"].get(str(n)) for n in at] + [values["nsd"].get(str(n)) for n in (at[0], at[-1])]
        best = [values["best_of_clicks"]] if done.protocol.best_of_clicks else []
        extra = [*best, values["dice_area"], values["nsd_area"]]
        shown = "".join(f"<td>{'' if v is None else f'{v:.3f}'}</td>" for v in [*cells, *extra])
        rows.append(f"<tr><td>{escape(method)}</td>{shown}</tr>")
    column, note = "", ""
    if done.protocol.best_of_clicks:
        column = "<th>best of clicks</th>"
        note = "Best of clicks: the best Dice of all clicks, an oracle that this protocol's tables report. "
    return (
        f"<h2>Means</h2><table><tr><th>method</th>{head}{column}<th>Dice area</th><th>NSD area</th></tr>"
        + "".join(rows)
        + f"</table><p class='note'>NSD: share of the surface within 2 mm. {note}Areas: under the curve over the "
        "clicks.</p>"
    )


def _pictures(done: Evaluation, model: str) -> str:
    ranked = sorted(
        (which for which in done.structures if which in done.pictures), key=lambda which: done.of(model, *which)[-1]
    )
    if not ranked:
        return ""
    chosen = {"best": ranked[-1], "median": ranked[len(ranked) // 2], "worst": ranked[0]}
    figures = []
    for title, which in chosen.items():
        data = base64.b64encode(done.pictures[which]).decode()
        score = done.of(model, *which)[-1]
        figures.append(
            f"<figure><img alt='' src='data:image/png;base64,{data}'><figcaption><b>{title}</b>: {escape(which[1])}, "
            f"{escape(which[0])}; Dice {score:.2f} after the last click</figcaption></figure>"
        )
    return (
        "<h2>Pictures</h2><p class='note'>Orange: the mask. Green: the reference. Blue and red: positive and negative "
        "clicks, small on other slices.</p>" + "".join(figures)
    )


def _structures(done: Evaluation, model: str) -> str:
    at = done.protocol.at
    sizes = {(s.case, s.structure): s.ml for s in done.scores}
    rows = []
    for which in done.structures:
        cells = []
        for method in done.methods:
            curve = done.of(method, *which)
            cells += [f"<td>{curve[n - 1]:.2f}</td>" for n in at if n <= len(curve)]
        error = done.of(model, *which, metric="volume_error")[-1]
        rows.append(
            f"<tr><td>{escape(which[1])}</td><td>{escape(which[0])}</td><td>{sizes[which]:.1f}</td>{''.join(cells)}"
            f"<td>{100 * error:+.0f} %</td></tr>"
        )
    head = "".join(f"<th>{escape(m)[:18]} {n}</th>" for m in done.methods for n in at)
    return (
        f"<h2>Structures</h2><table><tr><th>structure</th><th>case</th><th>ml</th>{head}<th>volume error</th></tr>"
        + "".join(rows)
        + "</table>"
    )
