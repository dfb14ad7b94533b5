// Ages and countdowns that tick between updates, and the grey of stale data.

const UNITS = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];

let served = 0; // the server's clock when it made the page
let received = 0; // our clock when we received it; only differences of it are used

export function startAges() {
  settle(Number(document.getElementById("main").dataset.now), performance.now());
  tick();
  setInterval(tick, 1000);
}

// Takes over the server's clock from a page that was requested at `asked`.
export function settle(now, asked) {
  served = now;
  received = asked;
}

export function duration(ms) {
  let left = Math.max(0, Math.floor(ms / 1000));
  const parts = [];
  for (const [size, unit] of UNITS) {
    const number = Math.floor(left / size);
    left %= size;
    if (number || (unit === "s" && !parts.length)) parts.push(`${number} ${unit}`);
    else if (parts.length) break;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

export function tick() {
  const now = served + performance.now() - received;
  const limit = Number(document.getElementById("main").dataset.staleAfter);
  for (const element of document.querySelectorAll("[data-age]")) {
    const age = now - Number(element.dataset.age);
    put(element, (age > limit && !("plain" in element.dataset) ? `${element.dataset.word} ` : "") + duration(age));
  }
  for (const element of document.querySelectorAll("[data-until]")) {
    const away = Number(element.dataset.until) - now;
    put(element, away >= 0 ? `in ${duration(away)}` : `${duration(-away)} ago`);
  }
  for (const element of document.querySelectorAll("[data-ages]")) {
    if (!element.dataset.ages) continue;
    const age = now - Number(element.dataset.ages);
    element.classList.toggle("stale", age > limit);
    element.classList.toggle("very-stale", age > 3 * limit);
  }
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
