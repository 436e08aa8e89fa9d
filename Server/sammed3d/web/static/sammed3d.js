// What the page's templates cannot do: keys wherever the focus is, places in the views by keys, light and dark, files that
// are chosen or dropped.
(() => {
  const KEYS = new Set(["p", "n", "t", "b", "c", "h", "u", "U", "e", "R", "D"]);
  const isTyping = (target) =>
    target instanceof Element && target.closest("input:not([type=checkbox]):not([type=range]), textarea, [role=combobox], [role=listbox]");

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    if (!KEYS.has(event.key) || isTyping(event.target)) return;
    event.preventDefault();
    window.trame.trigger("key", [event.key]);
  });

  // Places in the views by keys: a crosshair in the view that has the focus, which is the mouse to that view.

  const VIEW = ".remote-controlled-area", STEP = 8, FINE = 1;
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const WHEEL = { PageUp: { deltaY: -100 }, PageDown: { deltaY: 100 } };
  const crosshair = Object.assign(document.createElement("div"), { id: "crosshair" });
  const places = new WeakMap(); // of each view: column and row, as shares of its size
  let held = null; // the view in which the button is held down
  const isSlice = (view) => view.parentElement.querySelector(".slice-slider-gutter") !== null;

  function place(view, x, y) {
    const within = [x, y].map((share) => Math.min(Math.max(share, 0), 1));
    places.set(view, within);
    [crosshair.style.left, crosshair.style.top] = within.map((share) => `${100 * share}%`);
  }

  function where(view) {
    const box = view.getBoundingClientRect(), [x, y] = places.get(view) ?? [0.5, 0.5];
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

  function letGo() {
    if (held) point(held, "pointerup", 0, 0);
    held = null;
  }

  function pressed(view, event) {
    if (event.key in ARROWS) {
      const box = view.getBoundingClientRect(), [x, y] = places.get(view) ?? [0.5, 0.5];
      const [right, down] = ARROWS[event.key].map((way) => way * (event.shiftKey ? FINE : STEP));
      view.append(crosshair);
      place(view, x + right / box.width, y + down / box.height);
      point(view, "pointermove", -1, held ? 1 : 0);
    } else if (event.key in WHEEL) {
      view.dispatchEvent(new WheelEvent("wheel", { ...where(view), ...WHEEL[event.key] }));
    } else if (event.key === "Enter" || event.key === " ") {
      const state = window.trame.state;
      if (held) {
        letGo();
        return true;
      }
      if (!event.shiftKey && !state.get("placing") && !state.get("tool")) {
        window.trame.trigger("say", ["Press P or N first, for positive or negative clicks, or take Paint or Erase."]);
        return true;
      }
      view.append(crosshair);
      place(view, ...(places.get(view) ?? [0.5, 0.5]));
      point(view, "pointermove", -1, 0);
      point(view, "pointerdown", 0, 1);
      if (event.shiftKey) held = view;
      else point(view, "pointerup", 0, 0);
    } else return false;
    return true;
  }

  document.addEventListener("keydown", (event) => {
    const view = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || !(view instanceof Element) || !view.matches(VIEW)) return;
    if (event.repeat && !(event.key in ARROWS) && !(event.key in WHEEL)) return;
    if (!isSlice(view) || !pressed(view, event)) return;
    speak();
    event.preventDefault();
    event.stopPropagation(); // in Slicer arrows change the slice
  }, true);
  // Which view is drawn first: the one under the mouse, or that of the keys
  const turn = (view, kind) => view.matches?.(VIEW) && view.parentElement.dispatchEvent(new MouseEvent(kind));
  document.addEventListener("focusin", (event) => turn(event.target, "mouseenter"));
  document.addEventListener("focusout", (event) => {
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

  const NAMES = { "mdi-camera-flip-outline": "Show all of the image", "mdi-video-3d": "Show this slice in 3-D" };
  new MutationObserver(() => {
    for (const view of document.querySelectorAll(`${VIEW}:not([aria-label])`)) {
      const keys = "arrows move the crosshair, Enter clicks there, Page up and Page down change the slice";
      view.setAttribute("role", "application");
      view.setAttribute("aria-label", isSlice(view) ? `Slice view: ${keys}` : "3-D view");
    }
    for (const icon of document.querySelectorAll(".view-gutter button:not([aria-label]) i")) {
      const name = Object.keys(NAMES).find((each) => icon.classList.contains(each));
      if (name) icon.closest("button").setAttribute("aria-label", NAMES[name]);
    }
  }).observe(document.body, { childList: true, subtree: true });

  // Light or dark: as the system has it, until somebody chooses.

  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => ({ dark: true, light: false })[sessionStorage.getItem("theme")] ?? system.matches;
  const showTheme = () => window.trame.state.set("dark", isDark());
  system.addEventListener("change", showTheme);
  const untilReady = setInterval(() => {
    if (window.trame?.state?.get("dark") === undefined) return;
    clearInterval(untilReady);
    showTheme();
  }, 50);

  // Files

  const mayReplace = () =>
    !window.trame.state.get("has_work") ||
    window.confirm("Open another volume? Segments that were not downloaded are lost.");

  async function send(files) {
    if (!files.length || !mayReplace()) return;
    const body = new FormData();
    for (const file of files) body.append("file", file, file.name);
    try {
      await fetch("upload", { method: "POST", body });
    } catch {
      window.trame.trigger("say", ["The files could not be sent."]);
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.id === "open") document.getElementById("upload").click();
    if (button?.title === "Rename") setTimeout(() => document.querySelector("#segments input[type=text]")?.focus(), 50);
    if (button?.id === "theme") {
      sessionStorage.setItem("theme", isDark() ? "light" : "dark");
      showTheme();
    }
    if (button?.id === "end") end();
    if (button?.id === "sample" && mayReplace()) window.trame.trigger("sample", []);
  }, true); // before the list's rows stop it
  document.addEventListener("change", (event) => {
    if (event.target.id !== "upload") return;
    send([...event.target.files]).finally(() => (event.target.value = ""));
  });
  for (const kind of ["dragover", "drop"]) {
    document.addEventListener(kind, (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      if (kind === "drop") send([...event.dataTransfer.files]);
    });
  }

  // A page of several users' ends when nothing is done in it: it warns before, and can be ended at once.

  const ask = async (what, method) => (await fetch(`session${what}`, { method, cache: "no-store" })).json();
  const time = (seconds) => {
    const minutes = Math.round(seconds / 60), hours = Math.floor(minutes / 60);
    if (minutes < 1) return `${Math.ceil(seconds)} s`;
    return hours ? `${hours} h ${minutes % 60} min` : `${minutes} min`;
  };
  const warning = Object.assign(document.createElement("div"), { id: "warning" });
  warning.setAttribute("role", "alert");
  const words = document.createElement("span"), stay = document.createElement("button");
  stay.textContent = "Stay";
  warning.append(words, stay);
  let looking = 0;

  function show({ ends_in: left, untouched, warning: from }) {
    if (left === undefined) return;
    if (left > from) warning.remove();
    else {
      words.textContent =
        `Nothing was done here for ${time(untouched)}; this page ends in ${time(left)}. Download what you need, or press Stay.`;
      if (!warning.isConnected) document.body.append(warning);
    }
    clearTimeout(looking);
    looking = setTimeout(look, 1000 * Math.min(Math.max(left - from, from / 20, 0.5), 30));
  }

  const look = () => ask("", "GET").then(show).catch(() => (looking = setTimeout(look, 5000)));
  stay.addEventListener("click", () => ask("/stay", "POST").then(show));
  const untilKnown = setInterval(() => {
    const shared = window.trame?.state?.get("shared");
    if (shared === undefined) return;
    clearInterval(untilKnown);
    if (shared) look();
  }, 200);

  async function end() {
    const lost = window.trame.state.get("unsaved");
    if (lost && !window.confirm("Segments that were not downloaded are lost. End this page?")) return;
    await ask("/end", "POST");
    window.location.reload();
  }

  // A connection that broke: once the address answers again, the page comes back, or the words why it has ended.
  const comeBack = async () => {
    try {
      await fetch("index.html", { cache: "no-store" });
      window.location.reload();
    } catch {
      setTimeout(comeBack, 2000);
    }
  };
  const watched = setInterval(() => {
    const client = window.trame?.client;
    if (!client?.isConnected()) return;
    clearInterval(watched);
    client.onConnectionClose(() => setTimeout(comeBack, 1000));
  }, 200);
})();
