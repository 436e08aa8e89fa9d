// While somebody draws, no place is left out that the pointer passed: on its way to the server a move is replaced by the
// next one as long as both are alike, and what is drawn would have fewer corners the busier the server is. So they differ.
(() => {
  const VIEW = ".remote-controlled-area", APART = 2; // pixels
  const ours = new WeakSet();
  const draws = (view, event) =>
    event.buttons & 1 &&
    !event.shiftKey &&
    !event.ctrlKey &&
    window.trame?.state?.get("drawing") &&
    view.parentElement.querySelector(".slice-slider-gutter") !== null; // in 3-D the mouse turns
  let last = [0, 0], odd = false;

  function pass(view, from, { clientX, clientY }) {
    if (Math.hypot(clientX - last[0], clientY - last[1]) < APART) return;
    [last, odd] = [[clientX, clientY], !odd];
    const { pointerId, pointerType, isPrimary, button, buttons } = from;
    const same = { pointerId, pointerType, isPrimary, button, buttons, bubbles: true, cancelable: true };
    const event = new PointerEvent("pointermove", { ...same, clientX, clientY, altKey: odd }); // which means nothing here
    ours.add(event);
    view.dispatchEvent(event);
  }

  document.addEventListener("pointermove", (event) => {
    const view = event.target instanceof Element && event.target.closest(VIEW);
    if (!view || ours.has(event) || !draws(view, event)) return;
    event.stopImmediatePropagation();
    const between = event.getCoalescedEvents?.() ?? [];
    for (const place of between.length ? between : [event]) pass(view, event, place);
  }, true);
})();
