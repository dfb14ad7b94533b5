// See geometry.py. An expression: what `faults` asks a page to evaluate.
() => {
  const found = [];
  const [wide, high] = [innerWidth, innerHeight];
  const say = (fault, element, more = "") => found.push(`${fault}: ${name(element)} ${more}`.trim());
  const name = (element) => {
    const own = element.id ? `#${element.id}` : element.className?.baseVal ?? element.className;
    return `<${element.localName} ${own}> "${element.textContent.trim().replace(/\s+/g, " ").slice(0, 60)}"`;
  };
  const seen = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !element.closest(".sr, .skip, .watermark, .uplot, noscript");
  const all = [...document.body.querySelectorAll("*")].filter(seen);
  const style = new Map(all.map((element) => [element, getComputedStyle(element)]));
  const over = (element) => element.closest("dialog, header, .pop, .menu fieldset");
  const inSight = (element) => {
    const within = element.closest(".tall, .pop, #hits")?.getBoundingClientRect();
    const { top, bottom } = element.getBoundingClientRect();
    return !within || (top >= within.top - 1 && bottom <= within.bottom + 1);
  };
  const block = (element) => {
    while (element && ["inline", "contents"].includes(getComputedStyle(element).display)) element = element.parentElement;
    return element;
  };

  // Nothing is wider than the screen.
  if (document.documentElement.scrollWidth > wide) found.push(`page: ${document.documentElement.scrollWidth} wide`);

  for (const element of all) {
    const { overflowX, overflowY, textOverflow } = style.get(element);
    const rect = element.getBoundingClientRect();
    const within = element.parentElement.closest(".scroll, pre");
    if (rect.width && rect.right > wide + 1 && !within) say("outside", element, `ends at ${Math.round(rect.right)}`);
    // Nothing is cut off, or has to be scrolled sideways.
    if (overflowX !== "visible" && textOverflow !== "ellipsis" && !element.matches("input, select") && element.scrollWidth > element.clientWidth + 1) {
      say(["hidden", "clip"].includes(overflowX) ? "clipped" : "sideways", element, `${element.scrollWidth} in ${element.clientWidth}`);
    }
    // Where the page is scrolled by a finger nothing else is; elsewhere there is room beside it.
    if (["auto", "scroll"].includes(overflowY) && element.scrollHeight > element.clientHeight + 1 && (wide <= 1000 || element.clientHeight > 0.7 * high)) {
      say("trap", element, `${element.scrollHeight} in ${element.clientHeight}`);
    }
  }

  // Text stays inside its box, and words stay whole.
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    const parent = node.parentElement;
    if (!node.data.trim() || !style.has(parent) || parent.closest("option, pre")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = block(parent).getBoundingClientRect();
    const rects = [...range.getClientRects()].filter((rect) => rect.width);
    for (const rect of rects) {
      if (rect.right > box.right + 1.5 || rect.left < box.left - 1.5) {
        say("over its box", block(parent), `by ${Math.round(Math.max(rect.right - box.right, box.left - rect.left))}`);
        break;
      }
    }
    if (rects.every((rect) => Math.round(rect.top) === Math.round(rects[0].top))) continue; // one line: nothing is broken
    for (const { 0: word, index } of node.data.matchAll(/[\p{L}\d.,$¢+−-]{2,20}/gu)) {
      const token = /\S*$/.exec(node.data.slice(0, index))[0] + /^\S*/.exec(node.data.slice(index))[0];
      if (parent.closest("code") || token.length > 20) continue; // a ticker, or what somebody made as long
      range.setStart(node, index);
      range.setEnd(node, index + word.length);
      const lines = new Set([...range.getClientRects()].filter((rect) => rect.width).map((rect) => Math.round(rect.top)));
      if (lines.size > 1 && !/[-.,]/.test(word.slice(1, -1))) say("broken", parent, `in "${word}"`);
    }
  }

  // What is pressed is 24 by 24, or has that much to itself, or stands in a sentence (WCAG 2.2, 2.5.8).
  const targets = all.filter((element) => element.matches("a[href], button, summary, select, input:not([type=hidden]), [role=option], label:has(input)") && !element.closest("label:has(input) input") && inSight(element));
  const rects = targets.map((element) => element.getBoundingClientRect());
  targets.forEach((element, n) => {
    const rect = rects[n];
    if (!rect.width || (rect.width >= 23.5 && rect.height >= 23.5)) return;
    const words = element.closest("p, li, td, dd, figcaption, .sub")?.cloneNode(true);
    const sentence = style.get(element).display === "inline" && words && words.textContent.trim().length > element.textContent.trim().length + 8;
    if (sentence) return;
    const [x, y] = [rect.left + rect.width / 2, rect.top + rect.height / 2];
    for (let m = 0; m < targets.length; m += 1) {
      if (m === n || over(element) !== over(targets[m]) || element.contains(targets[m]) || targets[m].contains(element)) continue;
      const other = rects[m];
      const small = other.width < 23.5 || other.height < 23.5;
      const [dx, dy] = small ? [other.left + other.width / 2 - x, other.top + other.height / 2 - y] : [Math.max(other.left - x, 0, x - other.right), Math.max(other.top - y, 0, y - other.bottom)];
      if (other.width && Math.hypot(dx, dy) < (small ? 23.5 : 11.5)) return say("small", element, `${Math.round(rect.width)}x${Math.round(rect.height)} beside ${name(targets[m])}`);
    }
  });

  // What ends all trading is in sight, whole, and what a finger meets there.
  const kill = document.getElementById("kill");
  for (const end of [0, document.body.scrollHeight]) if (kill && !kill.hidden && !document.querySelector("dialog[open]")) {
    scrollTo(0, end);
    const rect = kill.getBoundingClientRect();
    const met = document.elementFromPoint(rect.left + rect.width / 2, rect.top + rect.height / 2);
    const lines = new Set([...kill.firstElementChild.getClientRects()].map((line) => Math.round(line.top)));
    if (rect.left < 0 || rect.right > wide || rect.top < 0 || rect.bottom > high || !kill.contains(met)) say("kill hidden", kill, JSON.stringify(rect));
    if (rect.width < 40 || rect.height < 24 || lines.size !== 1 || kill.scrollWidth > kill.clientWidth) say("kill broken", kill, JSON.stringify(rect));
  }
  scrollTo(0, 0);
  return [...new Set(found)];
}
