"""The widgets that segment: clicks, box, drawings, candidates and brush."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trame.widgets import html
from trame.widgets import vuetify3 as v

from sammed3d.web.drawings import HINTS
from sammed3d.web.hand_edits import MAX_DIAMETER, MIN_DIAMETER, TOOLS

SMALL_ICON: dict[str, Any] = {"size": "x-small", "variant": "text"}


def build(page: Any) -> None:
    """Make them.

    Args:
        page: whose functions they call.
    """
    _box(page)
    _drawings(page)
    _candidates(page)
    _brush(page)


def icon(icon: Any, title: str, of: str = "", **more: Any) -> None:
    """Make a button that is an icon with a name; where there are several, `of` says of what, as the page puts it."""
    name = f""":aria-label="'{title} ' + ({of})\"""" if of else f'aria-label="{title}"'
    v.VBtn(icon=icon, title=title, raw_attrs=[name], **more)


def does(page: Any, action: Callable[..., object]) -> Callable[..., None]:
    """Return what a widget calls: what goes wrong is said."""
    return lambda *values: page.attempt(lambda: action(*values))


def _box(page: Any) -> None:
    """A box round the object."""
    with html.Div(classes="px-2 pt-2 d-flex"):
        v.VBtn(
            "{{ boxing ? 'Remove box' : 'Box' }}",
            click=does(page, page.draw_box),
            raw_attrs=[':aria-pressed="boxing"'],
            title="A box round the object, before all clicks",
            size="small",
            classes="flex-grow-1 mx-1",
            id="box",
            disabled=("!opened",),
        )
        click = does(page, page.boxes.use)
        v.VBtn("Use box", click=click, size="small", classes="flex-grow-1 mx-1", id="use-box", disabled=("!boxing",))


def _drawings(page: Any) -> None:
    """Scribbles and lassos: what draws them, and those of the selected segment, each with a way to it and one out."""
    small: dict[str, Any] = {"density": "compact", "hide_details": True}
    with html.Div(classes="px-2 pt-2 d-flex align-center", id="draw"):
        for kind, title in HINTS.items():
            v.VBtn(
                kind.capitalize(),
                click=(does(page, page.draw), f"['{kind}', !negative]"),
                color=(f"drawing === '{kind}' ? negative ? 'error' : 'success' : ''",),
                raw_attrs=[f":aria-pressed=\"drawing === '{kind}'\""],
                title=title,
                size="small",
                classes="mx-1",
                id=kind,
                disabled=("!opened",),
            )
        title = "What is drawn does not belong to the structure"
        v.VCheckbox(v_model=("negative",), label="Negative", title=title, id="negative-drawing", **small)
    with html.Div(classes="px-2", v_if="drawings.length", id="drawings"):
        with html.Div(classes="d-flex flex-wrap"), html.Div(v_for="(row, number) in drawings", key="row.id"):
            v.VBtn(
                "{{ number + 1 }}: {{ row.kind }} {{ row.positive ? '+' : '-' }}",
                click=(page.jump_to_drawing, "[row.id]"),
                title="Go there",
                size="small",
                variant="text",
                classes="text-none",
            )
            remove = (does(page, page.drawings.remove), "[row.id]")
            icon("mdi-delete", "Remove", "(number + 1) + ': ' + row.kind", click=remove, **SMALL_ICON)
        title = "The segment agrees with what is drawn, whatever the model says"
        v.VCheckbox(v_model=("honour",), label="Keep to what is drawn", title=title, id="honour", **small)


def _candidates(page: Any) -> None:
    """The masks that a 2-D model weighed for a picture, each a button with the score and size that it has."""
    with html.Div(classes="px-2 pt-2 d-flex flex-wrap", v_if="flat", id="candidates"):
        v.VBtn(
            "Candidates",
            click=does(page, page.candidates.ask),
            title="The masks that the model weighed, by its own scores; choose one",
            size="small",
            classes="ma-1",
            id="ask-candidates",
            disabled=("!can_undo",),
        )
        v.VBtn(
            "{{ row.score.toFixed(2) }}: {{ row.pixels }} px",
            v_for="(row, number) in candidates",
            key="number",
            click=(does(page, page.candidates.choose), "[number]"),
            color=("row.chosen ? 'primary' : ''",),
            raw_attrs=[':aria-pressed="row.chosen"'],
            size="small",
            classes="ma-1 text-none candidate",
        )


def _brush(page: Any) -> None:
    """Hand edits between clicks."""
    with html.Div(classes="px-2 pt-2 d-flex align-center"):
        for tool in TOOLS:
            v.VBtn(
                tool.capitalize(),
                click=(does(page, page.edits.use), f"['{tool}']"),
                color=(f"tool === '{tool}' ? 'primary' : ''",),
                raw_attrs=[f":aria-pressed=\"tool === '{tool}'\""],
                size="small",
                classes="mx-1",
                id=tool,
                disabled=("!opened",),
            )
        label = ("`${diameter} ${flat ? 'px' : 'mm'}`",)
        more: dict[str, Any] = {"density": "compact", "hide_details": True, "classes": "mx-2"}
        v.VSlider(
            v_model_number=("diameter",),
            min=MIN_DIAMETER,
            max=MAX_DIAMETER,
            step=1,
            label=label,
            disabled=("!opened",),
            **more,
        )
