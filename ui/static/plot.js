// What all charts share: the page's colours, its time zone, axes.

import { moment, zone } from "./zone.js";

// A custom property may hold one colour for light and another for dark; only a computed property tells which applies.
export function colour(name) {
  const probe = document.createElement("i");
  probe.className = "sr";
  document.body.append(probe);
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const TIMES = [[86400, "{DD} {MMM}"], [60, "{HH}:{mm}"], [1, "{HH}:{mm}:{ss}"]];

export const zoned = (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone);

export const stamp = (seconds) => moment(seconds * 1000);

function axis() {
  return { stroke: colour("--muted"), grid: { stroke: colour("--line-soft"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
}

export const times = (show) => ({ ...axis(), values: TIMES, show, size: 28, space: 70 });

export const values = (words, more = {}) => ({ ...axis(), size: 62, space: 26, values: (_chart, ticks) => ticks.map(words), ...more });
