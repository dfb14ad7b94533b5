// What all charts share: the page's own colours, times in UTC, axes.

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const TIMES = [[86400, "{DD} {MMM}"], [60, "{HH}:{mm}"], [1, "{HH}:{mm}:{ss}"]];

export const utc = (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC");

export const stamp = (seconds) => `${new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;

function axis() {
  return { stroke: colour("--muted"), grid: { stroke: colour("--line-soft"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
}

export const times = (show) => ({ ...axis(), values: TIMES, show, size: 28, space: 70 });

export const values = (words, more = {}) => ({ ...axis(), size: 62, space: 26, values: (_chart, ticks) => ticks.map(words), ...more });
