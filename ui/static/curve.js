// The equity curve with its drawdown, drawn by uPlot in the page's own colours.

const EVERY_MS = 10000;

export function startCurve() {
  let chart = null;
  let drawn = 0;
  let busy = false;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dollars = (value) => (value === null || value === undefined ? "–" : `$${value.toFixed(2)}`);

  function options(box) {
    const line = { width: 1.5, points: { show: false } };
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line-soft"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    return {
      width: box.clientWidth,
      height: 220,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: { equity: {}, drawdown: { range: (_chart, low) => [Math.min(low ?? 0, -0.01) * 4, 0] } },
      axes: [{ ...axis, values: [[86400, "{DD} {MMM}"], [60, "{HH}:{mm}"], [1, "{HH}:{mm}:{ss}"]] }, { ...axis, scale: "equity", size: 66, values: (_chart, ticks) => ticks.map((tick) => `$${tick.toLocaleString("en")}`) }],
      series: [
        { value: (_chart, seconds) => (seconds === null ? "–" : new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ")), label: "UTC" },
        { label: "Equity", scale: "equity", stroke: colour("--link"), ...line, value: (_chart, value) => dollars(value) },
        { label: "Drawdown", scale: "drawdown", stroke: colour("--neg"), fill: colour("--neg-bg"), ...line, width: 1, value: (_chart, value) => dollars(value) },
      ],
    };
  }

  async function draw(anew) {
    const box = document.getElementById("curve");
    if (!box || busy || typeof uPlot === "undefined") return;
    if (chart && !box.contains(chart.root)) anew = true; // the page has made another box
    if (!anew && performance.now() - drawn < EVERY_MS && chart) return;
    busy = true;
    try {
      const answer = await fetch("/api/trader", { signal: AbortSignal.timeout(10000) });
      const { curve, status } = await answer.json();
      // What an unknown bid leaves out stays out: the line has a gap there.
      const data = [curve.time, curve.equity, curve.drawdown];
      if (anew || !chart) {
        chart?.destroy();
        chart = new uPlot(options(box), data, box);
      } else {
        chart.setData(data);
      }
      box.setAttribute("aria-label", `Equity curve, now $${status?.equity_dollars ?? "unknown"}; the sentence below sums it up`);
      drawn = performance.now();
    } catch (error) {
      drawn = performance.now(); // the page says by itself that nothing answers
    }
    busy = false;
  }

  addEventListener("load", () => draw(true));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(true));
  addEventListener("resize", () => chart?.setSize({ width: document.getElementById("curve").clientWidth, height: 220 }));
  return () => draw(false);
}
