// What the page's templates cannot do: keys wherever the focus is, files that are chosen or dropped.
(() => {
  const KEYS = new Set(["p", "n", "t", "h", "u", "U", "e", "R", "D"]);
  const isTyping = (target) =>
    target instanceof Element && target.closest("input:not([type=checkbox]):not([type=range]), textarea, [role=combobox], [role=listbox]");

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    if (!KEYS.has(event.key) || isTyping(event.target)) return;
    event.preventDefault();
    window.trame.trigger("key", [event.key]);
  });

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
