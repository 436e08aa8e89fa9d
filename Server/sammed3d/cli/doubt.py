"""How sure the model is and where to click next, on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sammed3d.cli.terminal import screen
from sammed3d.files.segmentation import write_field
from sammed3d.inference.session import Session
from sammed3d.inference.suggestion import Suggestion, suggestion_from
from sammed3d.inference.uncertainty import Uncertainty

UncertaintyOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write how unsure the model is of the last object: 0 sure, 1 cannot tell."),
]
SuggestOption = Annotated[bool, typer.Option("--suggest", help="Say where the next click would change most.")]


def tell_doubt(session: Session, found: Uncertainty | None, file: Path | None, suggest: bool) -> dict[str, Any] | None:
    """Write the uncertainty of the current object into a file, and say where to click next.

    Args:
        session: its prompts are applied.
        found: what `Session.uncertainty` returned for it.
        file: for the uncertainty in bits on the volume's grid, 0 outside the patch that was asked last; or None.
        suggest: whether to say where to click.

    Returns:
        The suggested click for the report; None where there is none or none was asked for.

    Raises:
        VolumeError: the file cannot be written.
    """
    if file is not None:
        write_field(file, None if found is None else (found.box, found.entropy), session.volume.grid)
    if not suggest:
        return None
    known = () if session.current is None else tuple(click.world for click in session.current.clicks)
    place = None if found is None else suggestion_from(found, session.volume.grid, known)
    screen.print(_words(place), highlight=False)
    if place is None:
        return None
    return {"world": list(place.world), "looks_inside": place.looks_inside, "probability": round(place.probability, 4)}


def _words(place: Suggestion | None) -> str:
    if place is None:
        return "There is no place left of which the model is unsure."
    r, a, s = place.world
    side = "inside" if place.looks_inside else "outside"
    return (
        f"Click next at {r:.1f},{a:.1f},{s:.1f} (looks {side}, probability {place.probability:.2f}); "
        "add ':-' if the object is not there."
    )
