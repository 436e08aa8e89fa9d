"""Keys, mouse and fingers in the views, by the page's scripts alone: what they hand to the views: make test-web."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="run make test-web")
from playwright.sync_api import Page, expect
from test_page_in_browser import browser

from sammed3d import web

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]
__all__ = ["browser"]
STATIC = Path(web.__file__).with_name("static")
SCRIPTS = "".join(
    f"<script>{(STATIC / name).read_text(encoding='utf-8')}</script>" for name in ("drawing.js", "views_by_keys.js")
)
ADDRESS = "http://page.example/"
HTML = """<!doctype html><style>.remote-controlled-area { width: 400px; height: 200px; position: relative }</style>
<body>
<div><div class=remote-controlled-area tabindex=0 id=axial></div>
<div class=slice-slider-gutter><i role=slider></i></div>
<span class=plane id=plane-axial hidden>Axial slice view</span></div>
<div><div class=remote-controlled-area tabindex=0 id=solid></div></div>
<div class=view-gutter><button><i class="mdi-camera-flip-outline"></i></button></div>
<button id=other>Other</button><div><i role=slider id=size></i></div>
<script>
const values = { keys: ["u", "j"], tool: "", drawing: "", placing: "" };
const answers = { crosshair: "Value 7.", next_click: "" };
const called = [], seen = [];
window.trame = {
  state: { get: (name) => values[name] },
  trigger: (name, what) => { called.push([name, ...what]); return Promise.resolve(answers[name]); },
};
for (const view of document.querySelectorAll(".remote-controlled-area")) {
  const note = (event) => {
    const box = view.getBoundingClientRect();
    const place = [Math.round(event.clientX - box.left), Math.round(event.clientY - box.top)];
    seen.push([event.type, ...place, event.type === "wheel" ? event.deltaY : event.buttons]);
    if (event.altKey) seen.at(-1).push("alt");
    if (event.ctrlKey) seen.at(-1).push("ctrl");
  };
  for (const kind of ["pointermove", "pointerdown", "pointerup", "wheel"]) view.addEventListener(kind, note);
  view.addEventListener("keydown", (event) => seen.push(["key", event.key]));
  for (const kind of ["mouseenter", "mouseleave"])
    view.parentElement.addEventListener(kind, (event) => event.isTrusted || seen.push([kind, view.id]));
}
</script>SCRIPTS"""
HINT = "Press P or N first, for positive or negative clicks, S or L to draw, 2 or 4 to paint or erase."


@pytest.fixture
def page(browser):
    page = browser.new_page()
    page.clock.install(time=0)
    page.route(ADDRESS, lambda route: route.fulfill(content_type="text/html", body=HTML.replace("SCRIPTS", SCRIPTS)))
    page.goto(ADDRESS)
    page.clock.pause_at(60_000)
    page.mouse.move(700, 700)
    page.focus("#axial")
    taken(page)
    yield page
    page.close()


def taken(page: Page) -> list[list[object]]:
    """What the views were handed since this was asked last."""
    return page.evaluate("seen.splice(0)")


def called(page: Page) -> list[list[object]]:
    return page.evaluate("called.splice(0)")


def keys(page: Page, *names: str) -> list[list[object]]:
    """Press keys; returns what the views were handed."""
    for name in names:
        page.keyboard.press(name)
    return taken(page)


def use(page: Page, **values: str) -> None:
    page.evaluate("(more) => Object.assign(values, more)", values)


def test_arrows_move_the_crosshair_as_a_mouse_would_and_never_out_of_the_view(page):
    assert keys(page, "ArrowRight", "ArrowDown") == [["pointermove", 208, 100, 0], ["pointermove", 208, 108, 0]]
    fine = [["pointermove", 207, 108, 0], ["pointermove", 207, 107, 0]]
    assert keys(page, "Shift+ArrowLeft", "Shift+ArrowUp")[1::2] == fine, "beside Shift itself"
    assert keys(page, *["ArrowUp"] * 20)[-1] == ["pointermove", 207, 0, 0]
    assert keys(page, *["ArrowDown"] * 30)[-1] == ["pointermove", 207, 200, 0]
    assert keys(page, *["ArrowLeft"] * 30)[-1] == ["pointermove", 0, 200, 0]
    assert keys(page, "Home") == [["pointermove", 200, 100, 0]]
    assert page.eval_on_selector("#crosshair", "(it) => [it.parentElement.id, it.style.left]") == ["axial", "50%"]


def test_two_arrows_go_across_until_one_is_up(page):
    page.keyboard.down("ArrowRight")
    page.keyboard.down("ArrowDown")
    page.keyboard.up("ArrowRight")
    page.keyboard.down("ArrowDown")
    assert taken(page) == [["pointermove", 208, 100, 0], ["pointermove", 216, 108, 0], ["pointermove", 216, 116, 0]]
    page.focus("#other")
    page.focus("#axial")
    taken(page)
    assert keys(page, "ArrowLeft") == [["pointermove", 208, 116, 0]], "whoever goes has no arrow down any more"


def test_enter_clicks_once_where_clicks_are_placed_and_says_else_what_to_press(page):
    assert keys(page, "Enter", " ") == []
    assert called(page) == 2 * [["say", HINT]]
    use(page, placing="positive")
    page.keyboard.down("Enter")
    page.keyboard.down("Enter")  # held down it repeats
    page.keyboard.up("Enter")
    assert taken(page) == [["pointermove", 200, 100, 0], ["pointerdown", 200, 100, 1], ["pointerup", 200, 100, 0]]
    assert called(page) == []
    expect(page.locator("#crosshair")).not_to_have_class("held")


@pytest.mark.parametrize(("what", "word", "end"), [("tool", "brush", "The brush is up."), ("drawing", "pen", "")])
def test_enter_puts_down_and_lifts(page, what, word, end):
    use(page, **{what: "it"})
    assert keys(page, "Enter") == [["pointermove", 200, 100, 0], ["pointerdown", 200, 100, 1]]
    expect(page.locator("#crosshair.held")).to_have_count(1)
    assert called(page) == [["say", f"The {word} is down: arrows draw, Enter lifts it, Escape drops the stroke."]]
    assert [event[:4] for event in keys(page, "ArrowRight", "Home")] == [
        ["pointermove", 208, 100, 1],
        ["pointermove", 200, 100, 1],
    ]
    assert keys(page, "u", "x", "Control+z", "Delete", "j") == [], "any key would be the end of a stroke"
    assert called(page) == 2 * [["say", "Let go first, with Enter."]]
    assert keys(page, "Enter") == [["pointerup", 200, 100, 0]]
    assert called(page) == ([["say", end]] if end else [])
    expect(page.locator("#crosshair.held")).to_have_count(0)
    assert keys(page, "ArrowRight") == [["pointermove", 208, 100, 0]]
    assert keys(page, "u") == [["key", "u"]]


def test_escape_drops_the_stroke_before_the_button_is_up(page):
    use(page, tool="paint")
    keys(page, "Enter", "ArrowRight")
    called(page)
    page.evaluate("() => { window.trame.trigger = (name) => (seen.push([name, 0]), Promise.resolve()); }")
    assert keys(page, "Escape") == [["drop", 0], ["say", 0], ["pointerup", 208, 100, 0]]
    assert keys(page, "Escape") == [["key", "Escape"]], "then it puts the brush down"


def test_the_space_bar_draws_as_long_as_it_is_down_and_shift_holds_what_is_there(page):
    use(page, drawing="scribble")
    page.keyboard.down(" ")
    page.keyboard.down(" ")
    words = "The pen is down: arrows draw, letting the space bar go lifts it, Escape drops the stroke."
    assert called(page) == [["say", words]]
    page.keyboard.up("Enter")
    assert taken(page) == [["pointermove", 200, 100, 0], ["pointerdown", 200, 100, 1]]
    page.keyboard.up(" ")
    assert taken(page) == [["pointerup", 200, 100, 0]]
    use(page, drawing="", placing="positive")
    page.keyboard.down("Shift")
    page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    page.keyboard.up("Shift")
    assert taken(page)[:-1] == [["key", "Shift"], ["pointermove", 200, 100, 0]]
    page.keyboard.down(" ")
    assert taken(page) == [["pointerup", 200, 100, 0]]
    page.keyboard.up(" ")
    assert taken(page) == []
    assert called(page) == []


def test_page_keys_turn_the_wheel_which_ends_a_stroke(page):
    use(page, tool="paint")
    keys(page, "ArrowRight")
    assert keys(page, "PageDown", "PageUp") == [["wheel", 208, 100, 100], ["wheel", 208, 100, -100]]
    assert keys(page, "Shift+PageDown", "Shift+PageUp")[1::2] == [
        ["wheel", 208, 100, -100, "ctrl"],
        ["wheel", 208, 100, 100, "ctrl"],
    ]
    assert keys(page, "Enter", "PageDown")[2:] == [["pointerup", 208, 100, 0], ["wheel", 208, 100, 100]]


def test_what_is_deleted_lies_at_the_crosshair(page):
    assert keys(page, "Delete") == [["key", "Delete"]], "there is none yet"
    keys(page, "ArrowRight")
    assert keys(page, "Delete") == [["pointermove", 208, 100, 0], ["key", "Delete"]]


def test_j_brings_the_crosshair_to_the_next_click(page):
    keys(page, "ArrowRight")
    assert keys(page, "j", "J") == [], "there is no click, and the crosshair stays"
    assert called(page) == 2 * [["next_click"]]
    page.evaluate("answers.next_click = 'Click 1.'")
    assert keys(page, "j") == [["pointermove", 200, 100, 0]]
    expect(page.locator("#spoken")).to_have_text("Click 1.")
    page.clock.run_for(1000)
    expect(page.locator("#spoken")).to_have_text("Click 1.")
    assert called(page) == [["next_click"]]
    assert keys(page, "Shift+J")[-1] == ["key", "J"]


def test_what_is_at_the_crosshair_is_said_once_it_rests(page):
    keys(page, "ArrowRight")
    page.clock.run_for(300)
    keys(page, "ArrowRight")
    page.clock.run_for(300)
    assert called(page) == []
    page.clock.run_for(200)
    assert called(page) == [["crosshair"]]
    expect(page.locator("#spoken")).to_have_text("Value 7.")
    keys(page, "x")
    page.clock.run_for(1000)
    assert called(page) == []


def test_other_programs_keys_are_left_to_them(page):
    for modifier in ("Control", "Alt", "Meta"):
        assert keys(page, f"{modifier}+ArrowRight")[-1] == ["key", "ArrowRight"]
    assert keys(page, "ArrowRight") == [["pointermove", 208, 100, 0]]


def test_a_solid_view_is_turned_by_arrows(page):
    page.focus("#solid")
    taken(page)
    keys(page, "ArrowRight", "ArrowUp", "Shift+ArrowLeft", "Shift+ArrowDown", "PageUp", "PageDown")
    turns = [[10, 0, 0], [0, -10, 0], [-2, 0, 0], [0, 2, 0], [0, 0, 1], [0, 0, -1]]
    assert called(page) == [["turn", *turn] for turn in turns]
    assert keys(page, "Enter") == [["key", "Enter"]]


@pytest.mark.parametrize("leave", ["focus", "window", "mouse"])
def test_a_stroke_ends_with_whoever_leaves_the_view(page, leave):
    use(page, tool="paint")
    keys(page, "Enter", "ArrowRight")
    called(page)
    if leave == "focus":
        page.focus("#other")
        assert taken(page) == [["pointerup", 208, 100, 0], ["mouseleave", "axial"]]
        expect(page.locator("#crosshair")).to_have_count(0)
        page.focus("#solid")
        assert taken(page) == [["mouseenter", "solid"]]
    elif leave == "window":
        page.evaluate("window.dispatchEvent(new Event('blur'))")
        assert taken(page) == [["pointerup", 208, 100, 0]]
    else:
        page.mouse.move(600, 600)
        assert taken(page) == [["pointerup", 208, 100, 0]]
    assert called(page) == [["say", "The brush is up."]]


def at(page: Page, x: float, y: float) -> tuple[float, float]:
    box = page.locator("#axial").bounding_box()
    return box["x"] + x, box["y"] + y


def test_the_crosshair_begins_where_the_mouse_was(page):
    keys(page, "ArrowRight")
    page.mouse.move(*at(page, 100, 50))
    expect(page.locator("#crosshair")).to_have_count(0)
    assert taken(page) == [["pointermove", 100, 50, 0]]
    assert keys(page, "ArrowRight") == [["pointermove", 108, 50, 0]]
    page.focus("#other")
    assert taken(page) == [], "the mouse is over the view still"


def test_a_finger_is_where_it_touches_before_it_presses(page):
    touch = """([x, y, kind]) => {
      const it = { clientX: x, clientY: y, pointerType: kind, bubbles: true, buttons: 1 };
      document.querySelector("#axial").dispatchEvent(new PointerEvent("pointerdown", it));
    }"""
    page.evaluate(touch, [*at(page, 100, 50), "touch"])
    assert taken(page) == [["pointerdown", 100, 50, 1]], "a script's is none"
    context = page.context.browser.new_context(has_touch=True)
    tablet = context.new_page()
    tablet.route(ADDRESS, lambda route: route.fulfill(content_type="text/html", body=HTML.replace("SCRIPTS", SCRIPTS)))
    tablet.goto(ADDRESS)
    tablet.touchscreen.tap(*at(tablet, 100, 50))
    assert taken(tablet)[:2] == [["pointermove", 100, 50, 0], ["pointerdown", 100, 50, 1]]
    context.close()


def drawn(page: Page, *places: tuple[float, float], button: str = "left") -> list[list[object]]:
    """Drag from place to place; returns the moves that the view was handed."""
    page.mouse.move(*at(page, *places[0]))
    page.mouse.down(button=button)
    taken(page)
    for place in places[1:]:
        page.mouse.move(*at(page, *place))
    moves = taken(page)
    page.mouse.up(button=button)
    taken(page)
    return moves


def test_no_move_of_a_stroke_is_like_the_one_before_it(page):
    use(page, drawing="scribble")
    moves = drawn(page, (100, 50), (110, 50), (111, 50), (113, 50), (113, 60))
    assert [move[1:4] for move in moves] == [[110, 50, 1], [113, 50, 1], [113, 60, 1]], "a pixel is no corner"
    assert [move[4:] for move in moves] in ([["alt"], [], ["alt"]], [[], ["alt"], []])


@pytest.mark.parametrize("other", ["nothing drawn", "right", "Shift", "Control"])
def test_moves_that_draw_nothing_are_as_they_are(page, other):
    use(page, drawing="" if other == "nothing drawn" else "lasso")
    if other in ("Shift", "Control"):
        page.keyboard.down(other)
    moves = drawn(page, (100, 50), (101, 50), (102, 50), button="right" if other == "right" else "left")
    assert [move[1:3] for move in moves] == [[101, 50], [102, 50]]
    assert not any("alt" in move for move in moves)


def test_who_draws_turns_a_solid_view_as_always(page):
    use(page, drawing="lasso")
    moves = drawn(page, (100, 250), (101, 250), (102, 250))
    assert len(moves) == 2
    assert not any("alt" in move for move in moves)


def test_views_and_what_belongs_to_them_have_names(page):
    page.evaluate("document.body.append(document.createElement('p'))")  # as trame's widgets come, one after the other
    names = page.eval_on_selector_all(
        ".remote-controlled-area, [role=slider], .view-gutter button",
        "(all) => all.map((it) => it.getAttribute('aria-label') ?? it.getAttribute('aria-labelledby'))",
    )
    assert names == ["plane-axial", "Slice, mm", "3-D view", "Show all of the image", "Size of the brush"]
    described = "(all) => all.map((it) => [it.getAttribute('role'), it.getAttribute('aria-description').slice(0, 20)])"
    assert page.eval_on_selector_all(".remote-controlled-area", described) == [
        ["application", "Arrows move the cros"],
        ["application", "Arrows turn it, Page"],
    ]
