// What the page's templates cannot do: keys wherever the focus is, light and dark, files that are chosen or dropped.
(() => {
  const isTyping = (target) =>
    target instanceof Element && target.closest("input:not([type=checkbox]):not([type=range]), textarea, [role=combobox], [role=listbox]");

  // Letters are what Shift makes of them; Caps Lock changes nothing.
  const keyOf = ({ key, shiftKey }) => (key.length > 1 ? key : shiftKey ? key.toUpperCase() : key.toLowerCase());

  const mayRemove = (row) =>
    row?.ml == null || window.confirm(`Remove ${row.name} with its clicks? That cannot be undone.`);

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    const key = keyOf(event), state = window.trame?.state;
    if (!state?.get("keys")?.includes(key) || isTyping(event.target)) return;
    event.preventDefault();
    if (key === "D" && !mayRemove(state.get("segments").find((row) => row.id === state.get("segment_id")))) return;
    window.trame.trigger("key", [key]);
  });

  // Fingers may enlarge the page, which trame's would not let them.
  document.querySelector("meta[name=viewport]").content = "width=device-width,initial-scale=1";

  // Light or dark: as the system has it, until somebody chooses.

  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => ({ dark: true, light: false })[sessionStorage.getItem("theme")] ?? system.matches;
  const showTheme = () => window.trame.state.set("dark", isDark());
  system.addEventListener("change", showTheme);
  const untilReady = setInterval(() => {
    if (window.trame?.state?.get("dark") === undefined) return;
    clearInterval(untilReady);
    showTheme();
    window.trame.state.watch(["series_asked"], takeList);
  }, 50);

  // A list that asks for a choice has the keys, which whoever has them then leaves to it.
  let taken = 0;
  function takeList(asked) {
    if (!asked || asked === taken) return;
    taken = asked;
    setTimeout(() => document.getElementById("series")?.focus(), 100);
  }

  // Files

  const mayReplace = () =>
    !window.trame.state.get("at_stake") ||
    window.confirm("Open another volume? Segments that were not downloaded are lost.");

  async function send(files) {
    if (!files.length || !mayReplace()) return;
    const body = new FormData();
    for (const file of files) body.append("file", file, file.name);
    const say = (words) => window.trame.trigger("say", [words]);
    try {
      const answer = await fetch("upload", { method: "POST", body });
      if (!answer.ok && answer.status !== 422) say(await why(answer)); // 422: the page has said it
    } catch {
      say("The files could not be sent. Give files, or a folder as a zip, and try again.");
    }
  }

  async function why(answer) {
    const words = answer.headers.get("Content-Type")?.startsWith("text/plain") ? (await answer.text()).trim() : "";
    if (words && words.length < 300) return words;
    if (answer.status === 413) return "The files are larger than the server takes.";
    return `The server did not take the files (HTTP ${answer.status}). Try again, or ask whoever runs it.`;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.title === "Remove" && button.closest("#segments")) {
      const number = [...document.querySelectorAll("#segments button[title=Remove]")].indexOf(button);
      if (!mayRemove(window.trame.state.get("segments")[number])) event.stopPropagation();
    }
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
})();
