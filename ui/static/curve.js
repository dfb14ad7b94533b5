// The equity curve and, below it on the same time axis, the drawdown, drawn by uPlot in the page's colours.

import { colour, stamp, times, values, zoned } from "./plot.js";

const EVERY_MS = 10000;
const HEIGHTS = [170, 90];

export function startCurve() {
  let charts = [];
  let drawn = 0;
  let busy = false;

  // On an axis: $40,000 or $40,000.40.
  const tickOf = (value) => `${value < 0 ? "−" : ""}$${Math.abs(value).toLocaleString("en", { minimumFractionDigits: Number.isInteger(value) ? 0 : 2, maximumFractionDigits: 2 })}`;
  const dollars = (value) => (value === null || value === undefined ? "–" : `${value < 0 ? "−" : ""}$${Math.abs(value).toFixed(2)}`);

  function options(box, label, height, stroke, more) {
    return {
      width: box.clientWidth,
      height,
      padding: [8, 28, more.times ? 0 : 8, 0],
      tzDate: zoned,
      cursor: { sync: { key: "curve" }, y: false },
      legend: { show: false },
      hooks: { setCursor: [point] },
      scales: { y: more.scale ?? {} },
      axes: [times(more.times), values(tickOf, { size: 74 })],
      series: [{}, { label, stroke, width: 1.5, fill: more.fill, points: { show: false } }, ...(more.second ?? [])],
    };
  }

  // The values under the pointer, as text beside the heading.
  function point() {
    const at = charts[0]?.cursor.idx;
    const said = document.getElementById("curve-at");
    if (!said) return;
    const [time, equity, settlement] = [0, 1, 2].map((row) => (at === null || at === undefined ? null : charts[0].data[row][at]));
    said.textContent = time ? `${stamp(time)}: equity at settlement ${dollars(settlement)}, at bid ${dollars(equity)}, drawdown ${dollars(charts[1]?.data[1][at])}` : "";
  }

  function make(box, data) {
    // A level curve is centred in a range of one dollar, not of twice its value.
    const around = (_chart, least, most) => (least === null ? [null, null] : most - least >= 1 ? uPlot.rangeNum(least, most, 0.1, true) : [(least + most - 1) / 2, (least + most + 1) / 2]);
    const low = (_chart, least) => [Math.min(least ?? 0, -1), 0];
    const plans = [
      options(box, "At bid", HEIGHTS[0], colour("--muted"), { times: false, scale: { range: around }, second: [{ label: "At settlement", stroke: colour("--link"), width: 1.5, points: { show: false } }] }),
      options(box, "Drawdown", HEIGHTS[1], colour("--neg"), { times: true, fill: colour("--neg-bg"), scale: { range: low } }),
    ];
    for (const chart of charts) chart.destroy();
    charts = plans.map((plan, index) => new uPlot(plan, data[index], box));
  }

  async function draw(anew) {
    const box = document.getElementById("curve");
    if (!box || busy || typeof uPlot === "undefined") return;
    if (charts.length && !box.contains(charts[0].root)) anew = true; // the page has replaced the box
    if (!anew && performance.now() - drawn < EVERY_MS && charts.length) return;
    busy = true;
    try {
      const answer = await fetch("/api/chart/equity", { signal: AbortSignal.timeout(10000) });
      const curve = await answer.json();
      // Where a bid is unknown, the line has a gap.
      const data = [[curve.time, curve.equity, curve.settlement], [curve.time, curve.drawdown]];
      if (anew || !charts.length) make(box, data);
      else charts.forEach((chart, index) => chart.setData(data[index]));
      box.setAttribute("aria-label", `Equity curve, now ${dollars(curve.equity.at(-1))}; the sentence below sums it up`);
      drawn = performance.now();
    } catch (error) {
      drawn = performance.now(); // the page itself says that nothing answers
    }
    busy = false;
  }

  addEventListener("load", () => draw(true));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(true));
  addEventListener("resize", () => charts.forEach((chart, index) => chart.setSize({ width: document.getElementById("curve").clientWidth, height: HEIGHTS[index] })));
  return () => draw(false);
}
