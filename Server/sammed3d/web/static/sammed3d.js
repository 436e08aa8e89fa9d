// What the page's templates cannot do: keys wherever the focus is, light and dark, files that are chosen or dropped.
(() => {
  const isTyping = (target) =>
    target instanceof Element && target.closest("input:not([type=checkbox]):not([type=range]), textarea, [role=combobox], [role=listbox]");

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    if (!window.trame?.state?.get("keys")?.includes(event.key) || isTyping(event.target)) return;
    event.preventDefault();
    window.trame.trigger("key", [event.key]);
  });

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
