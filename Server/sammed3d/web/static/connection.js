// Whether the server answers. A connection that broke, also without a word as when a computer slept, is made anew.
(() => {
  const SILENT = 5, BROKEN = 15; // seconds without an answer after something was done
  const AGAIN = 2; // seconds after which it is asked again
  const notice = Object.assign(document.createElement("div"), { id: "silence", className: "notice" });
  notice.setAttribute("role", "alert");

  function show(words) {
    notice.textContent = words;
    if (!notice.isConnected) document.body.append(notice);
  }

  // Come back as soon as the address answers, or to the words why the page has ended
  async function isThere() {
    try {
      const { status } = await fetch("index.html", { cache: "no-store" });
      return status < 500; // else a proxy answers, and the page does not yet
    } catch {
      return false;
    }
  }

  async function comeBack() {
    if (await isThere()) window.location.reload();
    else setTimeout(comeBack, 1000 * AGAIN);
  }

  // Asked only when something is done: what is asked counts as something done, after which a page stays
  let since = 0; // when it was asked, in milliseconds; 0 when it has answered
  function look() {
    const seconds = Math.floor((Date.now() - since) / 1000);
    if (seconds < SILENT) return;
    show(`The server has not answered for ${seconds} s. What you do here waits until it does.`);
    if (seconds >= BROKEN) isThere().then((there) => there && since && window.location.reload());
  }

  async function ask() {
    if (since || document.hidden || !window.trame?.client?.isConnected()) return;
    since = Date.now();
    const looking = setInterval(look, 1000 * AGAIN);
    await window.trame.trigger("alive", []); // never, where the connection is broken
    clearInterval(looking);
    since = 0;
    notice.remove();
  }
  for (const kind of ["keydown", "pointerdown"]) document.addEventListener(kind, ask, true);
  for (const kind of ["visibilitychange", "resume"]) document.addEventListener(kind, ask);
  window.addEventListener("online", ask);

  const watched = setInterval(() => {
    const client = window.trame?.client;
    if (!client?.isConnected()) return;
    clearInterval(watched);
    client.onConnectionClose(() => {
      const shared = window.trame.state.get("shared");
      const ended = shared ? "ask whoever runs it" : "start sammed3d view again, and open the address that it prints";
      show(`The connection to the server is lost. The page comes back by itself; if it does not, ${ended}.`);
      setTimeout(comeBack, 1000);
    });
  }, 200);
})();
