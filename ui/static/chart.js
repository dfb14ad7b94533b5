// The chart of a market's prices, or of all outcomes of an event: columns from the server, drawn by uPlot. Its
// last point always equals what the page shows beside it.

import { colour, stamp, times, values, zoned } from "./plot.js";

const EVERY_MS = 15000;
const RETRY_MS = 3000;
const HEIGHTS = [240, 70];
const TONES = ["--link", "--pos", "--neg", "--fair", "--muted", "--text"];
const DASHES = [[], [6, 3], [2, 3]];

export function startChart(live) {
  const box = document.getElementById("chart");
  if (!box) return () => {};
  const words = document.getElementById("chart-words");
  const at = document.getElementById("chart-at");
  let charts = [];
  let sent = null; // the server's latest answer
  let asked = -Infinity;
  let asking = null;
  let drawn = "";
  let span = [0, 1];
  let deals = [];

  const cents = (value) => (value === null || value === undefined ? "–" : `${+value.toFixed(2)}¢`);
  const range = () => new URLSearchParams(location.search).get("chart");
  const said = () => {
    const { time, quotes, marks } = document.getElementById("chart-now").dataset;
    return { time: Number(time) / 1000, quotes: new Map(JSON.parse(quotes).map(([ticker, bid, ask]) => [ticker, [bid, ask]])), marks: JSON.parse(marks) };
  };

  async function ask() {
    asked = performance.now();
    asking?.abort();
    asking = new AbortController();
    const query = range() ? `?chart=${encodeURIComponent(range())}` : "";
    try {
      const answer = await fetch(box.dataset.source + query, { signal: AbortSignal.any([asking.signal, AbortSignal.timeout(10000)]) });
      if (!answer.ok) throw new Error(answer.status);
      sent = await answer.json();
      draw(true);
    } catch (error) {
      if (error.name !== "AbortError") asked += RETRY_MS - EVERY_MS; // retry soon; the page itself says that nothing answers
    }
  }

  // The columns of one market up to this page's time, with its quote as the last point. Points from earlier pages
  // since the last answer are kept, so that the line has no step.
  function upTo(chart, now) {
    const { line } = chart;
    const [bid, ask] = now.quotes.get(chart.ticker) ?? [null, null];
    const middle = bid === null || ask === null ? null : (bid + ask) / 2;
    while (line.time.length && line.time.at(-1) >= now.time) for (const name of ["time", "bid", "ask", "middle"]) line[name].pop();
    line.time.push(now.time);
    line.bid.push(bid);
    line.ask.push(ask);
    line.middle.push(middle);
    return line;
  }

  function draw(anew) {
    if (!sent || typeof uPlot === "undefined") return;
    const now = said();
    const state = JSON.stringify([now.quotes.size ? [...now.quotes] : [], now.marks, box.clientWidth]);
    const moved = anew || state !== drawn || now.time - (charts[0]?.data[0].at(-1) ?? 0) >= 5;
    if (!moved) return;
    drawn = state;
    const many = sent.outcomes;
    const parts = many ?? [sent];
    const lines = parts.map((chart) => upTo(chart, now));
    const data = many ? uPlot.join(lines.map((line) => [line.time, line.middle])) : [lines[0].time, lines[0].ask, lines[0].bid, lines[0].middle];
    const first = Math.min(now.time - 1, ...lines.map((line) => line.time[0]));
    span = [sent.chart === "all" || many ? first : Math.min(first, sent.start), now.time];
    tell(parts, lines, now);
    if (!parts.length) return;
    deals = now.marks;
    if (anew) make(parts, data);
    else charts.forEach((chart, n) => chart.setData(n ? chart.data : data));
  }

  function make(parts, data) {
    const many = parts.length > 1 || sent.outcomes;
    const stepped = uPlot.paths.stepped({ align: 1 });
    const quiet = { points: { show: false }, paths: stepped };
    const series = many
      ? parts.map((part, n) => ({ ...quiet, label: part.label, stroke: colour(TONES[n % TONES.length]), dash: DASHES[Math.floor(n / TONES.length) % DASHES.length], width: 1.5 }))
      : [{ ...quiet, label: "Ask", width: 0 }, { ...quiet, label: "Bid", width: 0 }, { ...quiet, label: "Middle", stroke: colour("--link"), width: 1.5 }];
    const x = { time: true, range: () => span };
    const y = { range: (_chart, low, high) => widened(low, high) };
    const cursor = { sync: { key: "price" }, y: true };
    const plot = (height, more) => ({ width: box.clientWidth, height, padding: [10, 14, 0, 0], tzDate: zoned, cursor, legend: { show: false }, ...more });
    const plans = [
      [
        plot(HEIGHTS[0], {
          padding: [10, 14, many ? 0 : 6, 0], // without times below, the lowest price would be cut in half
          scales: { x: x, y },
          axes: [times(Boolean(many)), values((tick) => cents(tick))],
          series: [{}, ...series],
          bands: many ? [] : [{ series: [1, 2], fill: colour("--line") }],
          hooks: { setCursor: [point], draw: [begin, marks] },
        }),
        data,
      ],
    ];
    const { volume } = parts[0];
    if (!many && volume) {
      const bars = uPlot.paths.bars({ align: 1, size: [0.9] });
      plans.push([
        plot(HEIGHTS[1], {
          scales: { x: x, y: { range: (_chart, _low, high) => [0, Math.max(1, high ?? 1)] } },
          axes: [times(true), values((tick) => tick.toLocaleString("en"), { space: 22 })],
          series: [{}, { label: "Volume", fill: colour("--muted"), stroke: colour("--muted"), width: 0, paths: bars, points: { show: false } }],
        }),
        [volume.time, volume.count],
      ]);
    }
    for (const chart of charts) chart.destroy();
    box.replaceChildren();
    charts = plans.map(([plan, columns]) => new uPlot(plan, columns, box));
  }

  // A quiet market looks quiet.
  function widened(low, high) {
    if (low === null || high === null || low === undefined) return [0, 100];
    const spare = Math.max(0, 4 - (high - low)) / 2 + (high - low) * 0.06;
    return [Math.max(0, low - spare), Math.min(100, high + spare)];
  }

  // Where our own history begins; before it, the chart shows the exchange's summaries.
  function begin(chart) {
    const first = Math.max(...(sent.outcomes ?? [sent]).map((part) => part.line.begins ?? -Infinity));
    const { min, max } = chart.scales.x;
    if (!(first > min && first < max)) return;
    const left = chart.valToPos(first, "x", true);
    const { top, height } = chart.bbox;
    stroke(chart, colour("--muted"), [4, 4], (path) => (path.moveTo(left, top), path.lineTo(left, top + height)));
    const { ctx } = chart;
    ctx.save();
    ctx.fillStyle = colour("--muted");
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    const near = left > chart.bbox.left + chart.bbox.width / 2;
    ctx.textAlign = near ? "right" : "left";
    ctx.fillText("own data", left + (near ? -6 : 6) * devicePixelRatio, top + height - 5 * devicePixelRatio);
    ctx.restore();
  }

  // The trader's orders are rings and its fills are dots: green for YES, red for NO.
  function marks(chart) {
    const { ctx } = chart;
    const { min, max } = chart.scales.x;
    ctx.save();
    for (const [kind, time, price, side] of deals) {
      if (time < min || time > max) continue;
      const [left, top] = [chart.valToPos(time, "x", true), chart.valToPos(price, "y", true)];
      ctx.beginPath();
      ctx.arc(left, top, (kind === "fill" ? 4 : 6) * devicePixelRatio, 0, 2 * Math.PI);
      ctx.lineWidth = 1.5 * devicePixelRatio;
      ctx.strokeStyle = ctx.fillStyle = colour(side === "yes" ? "--pos" : "--neg");
      if (kind === "fill") ctx.fill();
      else ctx.stroke();
    }
    ctx.restore();
  }

  function stroke(chart, style, dash, draw) {
    const { ctx } = chart;
    ctx.save();
    ctx.beginPath();
    ctx.strokeStyle = style;
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
    draw(ctx);
    ctx.stroke();
    ctx.restore();
  }

  // The values under the crosshair, as text.
  function point(chart) {
    const { idx } = chart.cursor;
    if (idx === null || idx === undefined) return (at.textContent = "");
    const row = chart.data.map((column) => column[idx]);
    const prices = sent.outcomes ? sent.outcomes.map((part, n) => `${part.label} ${cents(before(chart.data[n + 1], idx))}`).join(", ") : `bid ${cents(row[2])}, ask ${cents(row[1])}`;
    at.textContent = `${stamp(row[0])}: ${prices}`;
  }

  // A joined column has values only where they changed.
  function before(column, idx) {
    while (idx > 0 && column[idx] === undefined) idx -= 1;
    return column[idx];
  }

  function tell(parts, lines, now) {
    const known = lines.map((line) => line.middle.filter((price) => price !== null));
    if (!known.some((prices) => prices.length)) {
      words.textContent = "Nothing to show yet: there has been no time with both a bid and an ask.";
      return;
    }
    const times = `${stamp(Math.min(...lines.map((line) => line.time[0])))} to ${stamp(now.time)}`;
    if (sent.outcomes) {
      const each = parts.map((part, n) => `${part.label} ${cents(known[n][0])} to ${cents(known[n].at(-1))}`);
      words.replaceChildren(`${times}, midpoint of bid and ask: `, ...parts.flatMap((_part, n) => [swatch(n), `${each[n]}${n < parts.length - 1 ? "; " : "."}`]));
      return;
    }
    const prices = known[0];
    const rings = now.marks.length ? " Rings are the trader's orders, dots its fills (green YES, red NO)." : "";
    const from = lines[0].begins - lines[0].time[0] > 30 ? ` Before ${stamp(lines[0].begins)}, prices are from Kalshi's candlesticks.` : "";
    words.textContent = `${times}: midpoint of bid and ask from ${cents(prices[0])} to ${cents(prices.at(-1))}, low ${cents(Math.min(...prices))}, high ${cents(Math.max(...prices))}; the band spans bid to ask, the bars show volume.${from}${rings}`;
  }

  function swatch(n) {
    const mark = document.createElement("span");
    mark.className = `swatch tone-${n % TONES.length} dash-${Math.floor(n / TONES.length) % DASHES.length}`;
    mark.setAttribute("aria-hidden", "true");
    return mark;
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-range]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, "", link.href);
    live.refresh();
    ask();
  });
  addEventListener("popstate", () => (live.refresh(), ask()));
  addEventListener("load", ask);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(true));
  addEventListener("resize", () => charts.forEach((chart, n) => chart.setSize({ width: box.clientWidth, height: HEIGHTS[n] })));

  return function sync() {
    if (!document.hidden && performance.now() - asked > EVERY_MS) ask();
    else draw(false);
  };
}
