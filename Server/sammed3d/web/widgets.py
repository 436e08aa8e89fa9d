"""How the page looks: its widgets, and which of the page's functions they call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import client, html
from trame.widgets import vuetify3 as v

from sammed3d.files.volume import Volume
from sammed3d.web import tools
from sammed3d.web.results import KINDS, PICTURE_KINDS
from sammed3d.web.uploads import IMAGES

STYLE = Path(__file__).with_name("static") / "sammed3d.css"
PICTURE_LAYOUT = "Axial Only"
LAYOUTS = ("Quad View", "Axial Primary", "Axial Only", "3D Only")
BESIDE = 720
"""Width of a window, in pixels, from which on the panel lies beside the views; in narrower ones it lies over them."""
AUTOMATIC = "Automatic"
WINDOWS: dict[str, tuple[float, float] | None] = {
    AUTOMATIC: None,
    "Abdomen": (350, 40),
    "Lung": (1400, -500),
    "Brain": (100, 50),
    "Bone": (1000, 400),
}
"""Window and level of CT, in HU."""
HOUNSFIELD = -500.0
"""What has air darker than this is a CT in Hounsfield units: MR has no numbers that low."""
KEYS = (
    ("P N", "place positive, negative clicks"),
    ("S L", "draw scribbles, lassos; with Shift what does not belong to it"),
    ("2 4", "paint, erase; + and - change the brush"),
    ("Escape", "puts them down"),
    ("Tab", "to a view; arrows move its crosshair (Shift: finely), Home centres it"),
    ("Page up, Page down", "change the slice (Shift: zoom)"),
    ("Enter", "clicks at the crosshair, or puts brush or pen down and lifts it; arrows draw, Escape drops the stroke"),
    ("Space", "the same, as long as it is held"),
    ("Shift+Enter", "holds what is there, for the arrows to drag; Enter lets go"),
    ("T", "the other kind"),
    ("B", "a box round the object, or none"),
    ("C", "of a picture: what else the model weighed"),
    ("H", "show or hide the clicks"),
    ("J", "to the next click of the segment, in all views"),
    ("Delete", "remove the click under the mouse or crosshair; drag to move it"),
    ("U Shift+U", "undo, redo"),
    ("E", "next segment"),
    ("Shift+R", "reset the segment"),
    ("Shift+D", "remove it"),
)
_BESIDE = f"$vuetify.display.width >= {BESIDE}"
_SMALL: dict[str, Any] = {"density": "compact", "hide_details": True, "variant": "outlined"}


def window_of(volume: Volume) -> str:
    """Return the name of the window in which a volume is shown at first."""
    return "Abdomen" if volume.lowest < HOUNSFIELD else AUTOMATIC


def build(page: Any, server: Any, layouts: Any) -> None:
    """Make the page.

    Args:
        page: whose functions the widgets call.
        server: trame's.
        layouts: trame-slicer's, which fills the views in.
    """
    with VAppLayout(server) as layout:
        client.Style(STYLE.read_text(encoding="utf-8"))
        layout.root.theme = ("dark ? 'dark' : 'light'",)
        with v.VAppBar(density="compact", height=72):
            tools.icon("mdi-menu", "Show or hide the panel", click="drawer = !drawer")
            v.VToolbarTitle("SAMMed3DSegment")
            html.Div("{{ opened }}", title=("opened",), classes="text-body-2 mx-4 text-truncate", id="opened")
            _shown(f"!flat && {_BESIDE}", classes="mx-2", max_width=180)
            tools.icon("mdi-theme-light-dark", "Light or dark", id="theme")
            tools.icon("mdi-power", "End this page", id="end", v_if="shared")
        with v.VNavigationDrawer(
            v_model=("drawer",), width=340, permanent=(_BESIDE,), temporary=(f"!({_BESIDE})",), id="panel"
        ):
            _panel(page)
        with v.VMain(style="height: 100vh", classes=("flat ? 'flat' : ''",)):
            layouts.initialize_layout_grid(layout)
        with v.VFooter(app=True, style="min-height: 36px; padding: 0 16px", classes="text-body-2", border=True):
            v.VIcon(
                "mdi-timer-sand", v_if="busy || receiving", size="small", classes="mr-2"
            )  # an animation costs a core
            html.Div(
                "{{ receiving || status }}{{ share === null ? '' : ' ' + share + ' %' }}",
                id="status",
                classes="mr-4",
                style="line-height: 1.15",  # two lines fit
                title=("status",),
                raw_attrs=["role='status'"],
            )
            html.Div(
                "Research software: not for clinical decisions.",
                classes="ml-auto text-right",
                style="line-height: 1.15",
            )


def _shown(v_if: str, **more: Any) -> None:
    """Which views there are, and in which window."""
    for model, items, label in (("layout", LAYOUTS, "Views"), ("window", WINDOWS, "Window")):
        v.VSelect(v_model=(model,), items=(str(list(items)),), label=label, v_if=v_if, **more, **_SMALL)


def _panel(page: Any) -> None:
    work = page.work
    with html.Div(classes="px-2 pt-3 pb-2 d-flex"):
        accept = ",".join((*IMAGES, ".zip", ".dcm", ".gz"))
        html.Input(type="file", id="upload", style="display: none", raw_attrs=["multiple", f'accept="{accept}"'])
        title = (
            "NIfTI, NRRD, MHA, slices of DICOM series or a zip of them, a picture (PNG, JPEG, TIFF, BMP, DICOM); "
            "or drop them on the page"
        )
        v.VBtn("Open", prepend_icon="mdi-folder-open", title=title, id="open", classes="flex-grow-1 mx-1")
        v.VBtn("Sample", id="sample", classes="flex-grow-1 mx-1")
    _series(page)
    with html.Div(v_if="cautions.length", classes="px-3 py-2", id="cautions", raw_attrs=["role='alert'"]):
        v.VAlert("{{ each }}", v_for="(each, number) in cautions", key="number", type="warning", density="compact")
    with html.Div(classes="px-3"):
        v.VSelect(v_model=("model",), items=("models",), label="Model", classes="my-2", id="model", **_SMALL)
        if page.may_choose_place:
            _place(page)
        _shown(f"!flat && !({_BESIDE})", classes="my-2")  # there is no room for them above the views
    with html.Div(classes="px-2 pt-2 d-flex"):
        for kind, color in (("positive", "success"), ("negative", "error")):
            v.VBtn(
                kind.capitalize(),
                click=(tools.does(page, work.place), f"['{kind}']"),
                color=(f"placing === '{kind}' ? '{color}' : ''",),
                raw_attrs=[f":aria-pressed=\"placing === '{kind}'\""],
                classes="flex-grow-1 mx-1",
                id=kind,
                disabled=("!opened",),
            )
    tools.build(page)
    with html.Div(classes="pa-2 d-flex flex-wrap"):
        for text, action, disabled in (
            ("Undo", work.undo, "!can_undo"),
            ("Redo", work.redo, "!can_redo"),
            ("Reset", work.reset, "!opened"),
            ("Next", work.add, "!opened"),
            ("Cancel", work.segmenter.cancel, "!busy"),
        ):
            click = tools.does(page, action)
            v.VBtn(text, click=click, size="small", classes="ma-1", disabled=(disabled,), id=text.lower())
        v.VCheckbox(
            v_model=("points",), label="Show clicks", density="compact", hide_details=True, disabled=("!opened",)
        )
    with v.VList(density="compact", id="segments"), html.Div(v_for="row in segments", key="row.id"):
        _row(page)
    v.VDivider()
    with html.Div(classes="pa-2 d-flex flex-wrap", id="downloads"):
        for kind, (title, _) in {**PICTURE_KINDS, **KINDS}.items():
            shown = "true" if kind in KINDS and kind in PICTURE_KINDS else "flat" if kind in PICTURE_KINDS else "!flat"
            v.VBtn(
                title,
                v_if=shown,
                href=(f"has_work ? 'download/{kind}' : null",),  # a link that is disabled could be followed by keys
                raw_attrs=["download"],
                disabled=("!has_work",),
                size="small",
                classes="ma-1 text-none",
                variant="tonal",
                id=f"download-{kind.replace('.', '-')}",
                prepend_icon="mdi-download",
            )
    with html.Div(classes="px-3 py-2 text-caption text-medium-emphasis"):
        for keys, meaning in KEYS:
            html.Div(f"{keys}: {meaning}")


def _series(page: Any) -> None:
    """Which series or frame is shown, of several; where one has to be chosen the list is open and has the keys."""
    with html.Div(v_if="series.length", classes="px-3 pt-2 pb-1"):
        v.VSelect(
            model_value=("series_number",),
            update_modelValue=(page.series.pick, "[$event]"),
            items=("series",),
            label=("series_kind",),
            menu=("series_open",),
            update_menu="series_open = $event",
            id="series",
            **_SMALL,
        )


def _place(page: Any) -> None:
    """Where predictions run."""
    places = "[{value: 'here', title: 'This computer'}, {value: 'server', title: 'A server'}]"
    v.VSelect(
        v_model=("place",),
        items=(places,),
        label="Where it runs",
        classes="my-2",
        id="place",
        update_modelValue="$event === 'here' && trigger('here')",
        **_SMALL,
    )
    with html.Div(v_if="place === 'server'"):
        v.VTextField(v_model=("url",), label="Address", placeholder="https://", classes="my-2", id="url", **_SMALL)
        v.VTextField(v_model=("key", ""), label="Key", type="password", classes="my-2", id="key", **_SMALL)
        cubes = "Cubes of up to 384 mm round the clicks (with 2-D models, whole slices)"
        sent = f"flat ? 'The picture, made smaller,' : '{cubes}'"
        label = (f"({sent}) + ' may be sent there'",)
        v.VCheckbox(v_model=("consent",), label=label, density="compact", hide_details=True, id="consent")
        click = (page.models.use_server, "[url, key]")
        v.VBtn("Use this server", click=click, disabled=("!consent || !url",), size="small", id="use-server")


def _row(page: Any) -> None:
    """A segment in the list."""
    work = page.work
    current = ":aria-current=\"row.id === segment_id ? 'true' : null\""
    click = tools.does(page, work.select), "[row.id]"
    item = v.VListItem(active=("row.id === segment_id",), click=click, raw_attrs=[current])
    with item, html.Div(classes="d-flex align-center"):
        html.Input(
            type="color",
            value=("row.color",),
            change=(tools.does(page, work.segments.recolor), "[row.id, $event.target.value]"),
            style="width: 24px; height: 24px; flex: none; border: 0; background: none",
            raw_attrs=[":aria-label=\"'Colour ' + row.name\"", "@click.stop"],
        )
        html.Div(
            "{{ row.name }}",
            v_if="renaming !== row.id",
            title=("row.name",),
            classes="ml-2 flex-grow-1 text-truncate name",
        )
        v.VTextField(
            v_else=True,
            model_value=("row.name",),
            change=(page.rename, "[row.id, $event.target.value]"),
            variant="plain",
            density="compact",
            hide_details=True,
            classes="ml-2",
            raw_attrs=[
                'aria-label="Name"',
                "@click.stop",
                "@blur=\"renaming = ''\"",
                "@keyup.enter=\"renaming = ''\"",
                "@keydown.esc=\"$event.target.value = row.name; renaming = ''\"",
            ],
        )
        v.VIcon("mdi-timer-sand", v_if="row.busy", size="x-small", classes="mr-2")
        html.Div("{{ row.size }}", classes="ml text-no-wrap")
        with html.Div(classes="d-flex", raw_attrs=["@click.stop"]):
            eye = ("row.visible ? 'mdi-eye' : 'mdi-eye-off'",)
            show, remove = tools.does(page, work.segments.show), tools.does(page, work.remove)
            buttons: tuple[tuple[Any, str, Any], ...] = (
                (eye, "Show or hide", (show, "[row.id, !row.visible]")),
                ("mdi-pencil", "Rename", "renaming = row.id"),
                ("mdi-crosshairs", "Go there", (page.jump, "[row.id]")),
                ("mdi-delete", "Remove", (remove, "[row.id]")),
            )
            for image, title, action in buttons:
                tools.icon(image, title, "row.name", click=action, **tools.SMALL_ICON)
