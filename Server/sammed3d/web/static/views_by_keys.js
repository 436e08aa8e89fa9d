// The views by keys: a crosshair in the slice view that has the focus, which is the mouse to that view; 3-D views turn.
(() => {
  const VIEW = ".remote-controlled-area", STEP = 8, FINE = 1;
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const WHEEL = { PageUp: -1, PageDown: 1 };
  const DEGREES = 10, FINE_DEGREES = 2;
  const crosshair = Object.assign(document.createElement("div"), { id: "crosshair" });
  const places = new WeakMap(); // of each view: column and row, as shares of its size
  const down = new Set(); // arrows that are pressed: two of them go across
  let held = null, heldBy = ""; // the view in which the button is held down, and by which key
  const isSlice = (view) => view.parentElement.querySelector(".slice-slider-gutter") !== null;
  const state = (name) => window.trame.state.get(name);
  const drawing = () => (state("tool") ? "brush" : state("drawing") ? "pen" : ""); // what Enter puts down and lifts
  const say = (line) => window.trame.trigger("say", [line]);

  function place(view, x, y) {
    const within = [x, y].map((share) => Math.min(Math.max(share, 0), 1));
    places.set(view, within);
    [crosshair.style.left, crosshair.style.top] = within.map((share) => `${100 * share}%`);
    view.append(crosshair);
  }

  const placeOf = (view) => places.get(view) ?? [0.5, 0.5];

  function where(view) {
    const box = view.getBoundingClientRect(), [x, y] = placeOf(view);
    return { clientX: box.left + x * box.width, clientY: box.top + y * box.height, bubbles: true, cancelable: true };
  }

  function point(view, kind, button, buttons) {
    view.setPointerCapture = view.releasePointerCapture = () => {}; // there is no pointer to capture
    const mouse = { pointerId: 1, pointerType: "mouse", isPrimary: true, button, buttons };
    view.dispatchEvent(new PointerEvent(kind, { ...where(view), ...mouse }));
    delete view.setPointerCapture;
    delete view.releasePointerCapture;
  }

  // What is there is said, to those who hear the page, when the crosshair rests
  const spoken = Object.assign(document.createElement("div"), { id: "spoken" });
  spoken.setAttribute("aria-live", "polite");
  document.body.append(spoken);
  let resting = 0;

  function speak() {
    clearTimeout(resting);
    resting = setTimeout(async () => (spoken.textContent = (await window.trame.trigger("crosshair", [])) ?? ""), 400);
  }

  function hold(view, key) {
    place(view, ...placeOf(view));
    point(view, "pointermove", -1, 0);
    point(view, "pointerdown", 0, 1);
    [held, heldBy] = [view, key];
    crosshair.classList.add("held");
    const ends = key === " " ? "letting the space bar go" : "Enter";
    if (drawing()) say(`The ${drawing()} is down: arrows draw, ${ends} lifts it, Escape drops the stroke.`);
  }

  function letGo(first = null) {
    if (!held) return;
    const view = held;
    if (first) first.finally(() => point(view, "pointerup", 0, 0));
    else point(view, "pointerup", 0, 0);
    held = null;
    crosshair.classList.remove("held");
    if (first && drawing()) say("The stroke is dropped.");
    else if (state("tool")) say("The brush is up."); // of what the pen drew the model tells
  }

  function move(view, event) {
    down.add(event.key);
    const box = view.getBoundingClientRect(), [x, y] = placeOf(view), step = event.shiftKey ? FINE : STEP;
    let [right, below] = [0, 0];
    for (const [dx, dy] of [...down].map((key) => ARROWS[key])) [right, below] = [right + dx, below + dy];
    place(view, x + (right * step) / box.width, y + (below * step) / box.height);
    point(view, "pointermove", -1, held ? 1 : 0);
  }

  function press(view, event) {
    if (held) letGo();
    else if (event.shiftKey || drawing()) hold(view, event.key);
    else if (state("placing")) {
      hold(view, event.key);
      letGo();
    } else say("Press P or N first, for positive or negative clicks, S or L to draw, 2 or 4 to paint or erase.");
  }

  // The next click comes into the middle of the view, and the crosshair with it
  async function goToNextClick(view) {
    clearTimeout(resting);
    const there = await window.trame.trigger("next_click", []);
    if (!there) return;
    place(view, 0.5, 0.5);
    point(view, "pointermove", -1, 0);
    spoken.textContent = there;
  }

  function inSlice(view, event) {
    if (event.key in ARROWS) move(view, event);
    else if (event.key in WHEEL) {
      letGo(); // a stroke is in one slice
      const zoom = event.shiftKey; // with Control the wheel zooms, the other way round
      const wheel = { deltaY: (zoom ? -100 : 100) * WHEEL[event.key], ctrlKey: zoom };
      view.dispatchEvent(new WheelEvent("wheel", { ...where(view), ...wheel }));
    } else if (event.key === "Home") {
      place(view, 0.5, 0.5);
      point(view, "pointermove", -1, held ? 1 : 0);
    } else if (event.key === "Enter" || event.key === " ") {
      if (!event.repeat) press(view, event);
    } else if (event.key.toLowerCase() === "j" && !event.shiftKey && !held) {
      if (!event.repeat) goToNextClick(view);
      return true; // which says where it is once it is there
    } else if (held && event.key === "Escape") {
      letGo(window.trame.trigger("drop", []));
    } else if (held && state("keys").includes(event.key)) say("Let go first, with Enter.");
    else {
      // what is deleted lies under the mouse, and only a move tells Slicer which that is now
      if (event.key === "Delete" && !held && crosshair.parentElement === view) point(view, "pointermove", -1, 0);
      return false;
    }
    speak();
    return true;
  }

  function in3D(event) {
    const degrees = event.shiftKey ? FINE_DEGREES : DEGREES;
    if (event.key in ARROWS) window.trame.trigger("turn", [...ARROWS[event.key].map((way) => way * degrees), 0]);
    else if (event.key in WHEEL) window.trame.trigger("turn", [0, 0, -WHEEL[event.key]]);
    else return false;
    return true;
  }

  document.addEventListener("keydown", (event) => {
    const view = event.target;
    if (!(view instanceof Element) || !view.matches(VIEW)) return;
    if (held) event.stopPropagation(); // for Slicer any key, Shift too, is the end of a stroke
    if (event.ctrlKey || event.metaKey || event.altKey || !(isSlice(view) ? inSlice(view, event) : in3D(event))) return;
    event.preventDefault();
    event.stopPropagation(); // in Slicer arrows change the slice
  }, true);
  document.addEventListener("keyup", (event) => {
    down.delete(event.key);
    const ours = event.target.matches?.(VIEW) && (event.key === "Enter" || event.key === " ");
    if (held || ours) event.stopPropagation();
    if (held && event.key === " " && heldBy === " ") {
      letGo();
      speak();
    }
  }, true);
  window.addEventListener("blur", () => {
    down.clear();
    letGo();
  });

  // Which view is drawn first: the one under the mouse, or that of the keys
  const turn = (view, kind) => view.matches?.(VIEW) && view.parentElement.dispatchEvent(new MouseEvent(kind));
  document.addEventListener("focusin", (event) => turn(event.target, "mouseenter"));
  document.addEventListener("focusout", (event) => {
    down.clear();
    letGo();
    crosshair.remove();
    if (!event.target.matches?.(`${VIEW}:hover`)) turn(event.target, "mouseleave");
  });
  function follow(event) {
    if (event.isTrusted) letGo();
    const view = event.isTrusted && event.target instanceof Element && event.target.closest(VIEW);
    if (!view) return;
    const box = view.getBoundingClientRect();
    places.set(view, [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
    crosshair.remove(); // the mouse shows where it is
    if (event.type === "pointerdown" && event.pointerType !== "mouse") point(view, "pointermove", -1, 0); // as a mouse would
  }
  document.addEventListener("pointermove", follow);
  document.addEventListener("pointerdown", follow, true);

  const IN_SLICE = "Arrows move the crosshair, Enter clicks there or puts the brush down and lifts it, Page up and Page down " +
    "change the slice, with Shift they zoom";
  const IN_3D = "Arrows turn it, Page up and Page down zoom";
  const NAMES = { "mdi-camera-flip-outline": "Show all of the image", "mdi-video-3d": "Show this slice in 3-D" };
  new MutationObserver(() => {
    for (const view of document.querySelectorAll(`${VIEW}:not([role])`)) {
      const plane = view.parentElement.querySelector(".plane"); // which says more than that it is a slice view
      view.setAttribute("role", "application");
      view.setAttribute("aria-description", plane ? IN_SLICE : IN_3D);
      plane ? view.setAttribute("aria-labelledby", plane.id) : view.setAttribute("aria-label", "3-D view");
    }
    for (const icon of document.querySelectorAll(".view-gutter button:not([aria-label]) i")) {
      const name = Object.keys(NAMES).find((each) => icon.classList.contains(each));
      if (name) icon.closest("button").setAttribute("aria-label", NAMES[name]);
    }
    for (const slider of document.querySelectorAll("[role=slider]:not([aria-label])"))
      slider.setAttribute("aria-label", slider.closest(".slice-slider-gutter") ? "Slice, mm" : "Size of the brush");
  }).observe(document.body, { childList: true, subtree: true });
})();
