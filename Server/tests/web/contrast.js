// Which texts of the page stand out too little from what is behind them: contrast below 4.5 by WCAG 2.2, 1.4.3.
() => {
  const LEAST = 4.5;
  const parts = (colour) => [...colour.match(/[\d.]+/g).map(Number), 1].slice(0, 4);
  const over = (front, back) => [0, 1, 2].map((n) => front[n] * front[3] + back[n] * (1 - front[3])).concat(1);
  const linear = (share) => (share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4);
  const luminance = (colour) => [0.2126, 0.7152, 0.0722].reduce((sum, w, n) => sum + w * linear(colour[n] / 255), 0);
  const lineage = (element) => (element ? [...lineage(element.parentElement), element] : []);
  const LAYERS = ":scope > .v-btn__underlay, :scope > .v-list-item__underlay, :scope > .v-list-item__overlay";

  function behind(element) {
    let colour = [255, 255, 255, 1];
    for (const each of lineage(element)) {
      colour = over(parts(getComputedStyle(each).backgroundColor), colour);
      for (const layer of each.querySelectorAll(LAYERS)) {
        const style = getComputedStyle(layer), paint = parts(style.backgroundColor);
        colour = over([...paint.slice(0, 3), paint[3] * style.opacity], colour);
      }
    }
    return colour;
  }

  const bad = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = texts.nextNode()); ) {
    const element = text.parentElement, words = text.data.trim();
    if (!words || !element.getBoundingClientRect().width || element.closest("style, script, #spoken, .v-tooltip")) continue;
    if (element.closest("[disabled], .v-btn--disabled, .v-input--disabled")) continue; // of which nothing is asked
    const back = behind(element), colour = parts(getComputedStyle(element).color);
    const opacity = lineage(element).reduce((all, each) => all * getComputedStyle(each).opacity, colour[3]);
    const [high, low] = [over([...colour.slice(0, 3), opacity], back), back].map(luminance).sort((a, b) => b - a);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < LEAST) bad.push(`${words}: ${contrast.toFixed(2)}`);
  }
  return bad;
}
