// Orders by hand: the form on the market page, and the dialog to sell, cancel or flatten. Each action is prepared,
// shown as a ticket, and carried out if it is confirmed in time. The trader does all of it; this script only asks
// and shows its answers.

import { command, say } from "./result.js";

const TICKET_MS = 60000;
const SHOW_MS = [0, 800, 2000, 5000]; // a market page gets no order events, so it refreshes to show what became of ours

const dollars = (text) => {
  const amount = Number(text);
  const places = amount && Math.abs(amount) < 0.01 ? 4 : 2; // as the pages do: a tiny amount must not read as zero
  const shown = Math.abs(amount).toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places });
  return `${amount < 0 ? "−" : ""}$${shown}`;
};
const gain = (text) => (text === null ? "not known" : `${Number(text) > 0 ? "+" : ""}${dollars(text)}`);
const cents = (text) => `${+(Number(text) * 100).toFixed(2)}¢`;
const count = (text) => +Number(text).toFixed(2);
const some = (number, name) => `${number} ${name}${number === 1 ? "" : "s"}`;
const what = (row) => `${row.side.toUpperCase()} of ${row.label ? `${row.label} (${row.ticker})` : row.ticker}`;
const best = (price, nobody, word) => (price === null ? nobody : `${word} now ${cents(price)}`);
const risk = (ticket) => ["Risk check", ticket.refused ? `refused: ${ticket.why}` : "passed", ticket.refused ? "bad" : "good"];

// The lines of a ticket, as [name, text, tone].
const FIGURES = {
  buy: (ticket) => [
    ["Order", `buy ${count(ticket.count_fp)} ${ticket.side.toUpperCase()} at ${cents(ticket.price_dollars)} or better`],
    ["Now", `${best(ticket.best_dollars, "no offers", "best price")}; ${count(ticket.fillable_fp)} would be filled at once`],
    ["Cost", `${dollars(ticket.cost_dollars)} plus ${dollars(ticket.fees_dollars)} in fees`],
    ["Worst case", `a total loss: ${dollars(ticket.worst_dollars)} at most`],
    ["Pays", `${dollars(ticket.payout_dollars)} if ${ticket.side.toUpperCase()}`],
    risk(ticket),
  ],
  sell: (ticket) => {
    const { sale } = ticket;
    const sold = sale.price_dollars === null ? `none of ${count(sale.held_fp)} ${what(sale)}` : `sell ${count(sale.count_fp)} ${what(sale)} at ${cents(sale.price_dollars)} or better`;
    return [
      ["Order", sold],
      ["Now", best(sale.best_dollars, "no bids", "best bid")],
      ["Proceeds", `${dollars(sale.brings_dollars)} less ${dollars(sale.fees_dollars)} in fees`],
      ["Against cost", `${gain(sale.realised_dollars)} after all fees, against a cost of ${dollars(sale.cost_dollars)} with fees`],
      ["Against settlement", sale.settlement_dollars === null ? "not known" : `${gain(sale.against_settlement_dollars)}: if held, it is expected to pay ${dollars(sale.settlement_dollars)}`],
      ["Worst case of the event", `${gain(ticket.worst_before_dollars)} now, ${gain(ticket.worst_after_dollars)} after the sale`],
      ["Not sold", stays(sale)],
      risk(ticket),
    ];
  },
  cancel: (ticket) => {
    const { order } = ticket;
    return [
      ["Order", `${order.number}: ${count(order.count_fp)} ${what(order)} at ${cents(order.price_dollars)}`],
      ["Filled", Number(order.filled_fp) ? `${count(order.filled_fp)}, which you keep` : "nothing"],
      ["Not filled", `${count(order.rests_fp)}, which will be cancelled; this frees ${dollars(order.frees_dollars)}`],
      ["Place in the queue", ticket.ahead_fp === null ? "not known" : `${count(ticket.ahead_fp)} contracts are ahead of it`],
      risk(ticket),
    ];
  },
  flatten: (ticket) => [
    ["Orders", ticket.orders.length ? `cancel ${some(ticket.orders.length, "order")}` : "none open"],
    ["Positions", ticket.sales.length ? `sell ${some(ticket.sales.filter(sells).length, "position")}, each at its price or better` : "none held"],
    ["Proceeds", `${dollars(ticket.brings_dollars)} less ${dollars(ticket.fees_dollars)} in fees`],
    ["Against cost", `${gain(ticket.realised_dollars)} after all fees`],
    ["Against settlement", gain(ticket.against_settlement_dollars)],
    ["Worst case of all events", `${gain(ticket.worst_before_dollars)} now, ${gain(ticket.worst_after_dollars)} after the sale`],
    ["Not sold", ticket.sales.some((sale) => Number(sale.left_fp)) ? `a part of ${some(ticket.sales.filter((sale) => Number(sale.left_fp)).length, "position")}` : "nothing"],
    ["Trading", "paused first, until somebody resumes it"],
    ticket.refused ? risk(ticket) : refusals(ticket.sales),
  ],
};

function sells(sale) {
  return Number(sale.count_fp) > 0;
}

function refusals(sales) {
  const why = [...new Set(sales.filter((sale) => !sells(sale) && sale.price_dollars !== null).map((sale) => sale.why))];
  return ["Risk check", why.length ? `partly refused: ${why.join(", ")}` : "passed", why.length ? "bad" : "good"];
}

function stays(sale) {
  if (!Number(sale.left_fp)) return "nothing";
  return `${count(sale.left_fp)}${sale.why ? `: ${sale.why}` : ""}`;
}

function show(list, lines) {
  list.replaceChildren(
    ...lines.map(([name, text, tone]) => {
      const row = document.createElement("div");
      row.append(Object.assign(document.createElement("dt"), { textContent: name }), Object.assign(document.createElement("dd"), { textContent: text }));
      row.className = tone ?? "";
      return row;
    }),
  );
  list.hidden = false;
}

// Counts a ticket's time down in the button that confirms it.
class Countdown {
  constructor(button) {
    this.button = button;
    this.ticket = null;
    setInterval(() => this.wait(), 1000);
  }

  begin(ticket, words) {
    Object.assign(this, { ticket, words, until: performance.now() + TICKET_MS });
    this.button.hidden = Boolean(ticket.refused) && ticket.what !== "flatten"; // that pauses and cancels in any case
    this.wait();
  }

  wait() {
    if (!this.ticket) return;
    const left = Math.ceil((this.until - performance.now()) / 1000);
    this.button.disabled = left <= 0;
    this.button.textContent = left > 0 ? `${this.words} (${left} s)` : "Expired: prepare again";
  }

  drop() {
    this.ticket = null;
    this.button.hidden = true;
  }
}

export function startOrders(live) {
  const box = document.getElementById("ticket");
  const answers = () => Boolean(document.getElementById("trader-state")?.dataset.answers);

  // Returns why the action was not done, or is not known to have been, in words; "" if it was done.
  async function confirm(countdown, words) {
    const { ticket } = countdown;
    if (!ticket) return "";
    countdown.button.disabled = true;
    let told;
    try {
      told = await command("confirm", { ticket: ticket.number });
    } catch (error) {
      countdown.wait(); // confirming again does it only once
      return error.message;
    } finally {
      for (const ms of SHOW_MS) setTimeout(() => live.refresh(), ms);
    }
    countdown.drop();
    if (told.refused) return `Not done: ${told.why}.`;
    say(words(told), told.left?.length ? "warn" : "good");
    return "";
  }

  startDialog(confirm);
  const suggest = box ? startForm(box, confirm) : () => {};

  return function sync() {
    if (box) box.hidden = !answers();
    suggest();
  };
}

// -- sell, cancel, flatten

function startDialog(confirm) {
  const dialog = document.getElementById("doing");
  const title = document.getElementById("doing-title");
  const figures = document.getElementById("doing-figures");
  const lines = document.getElementById("doing-lines");
  const form = document.getElementById("doing-sale");
  const go = document.getElementById("doing-go");
  const countdown = new Countdown(go);
  let body = null; // what is being prepared
  let asked = 0;

  const left = (told) => told.left.map((one) => ` ${count(one.count_fp)} not sold (${one.reason.replaceAll("_", " ")}).`).join("");
  const DONE = {
    sell: (told) => `Selling: ${told.orders.length === 1 ? "order" : "orders"} ${told.orders.join(", ")}.${left(told)}`,
    cancel: (told) => `Cancelling order ${told.orders.join(", ")}.`,
    flatten: () => "Flattening: trading is paused, orders are being cancelled, positions sold.",
  };
  const GO = {
    sell: ({ sale }) => `Confirm: sell ${count(sale.count_fp)} ${sale.side.toUpperCase()}`,
    cancel: ({ order }) => `Confirm: cancel order ${order.number}`,
    flatten: ({ orders, sales }) => `Confirm: cancel ${orders.length}, sell ${sales.filter(sells).length}`,
  };
  const TITLE = { sell: "Sell?", cancel: "Cancel this order?", flatten: "Flatten everything?" };

  async function prepare() {
    countdown.drop();
    const mine = ++asked;
    let told;
    try {
      told = await command("prepare", body);
    } catch (error) {
      if (mine !== asked) return;
      show(figures, [["", error.message, "bad"]]);
      lines.replaceChildren();
      return;
    }
    if (mine !== asked || !dialog.open) return;
    const { ticket } = told;
    show(figures, FIGURES[ticket.what](ticket));
    lines.replaceChildren(...(ticket.what === "flatten" ? table(ticket) : []));
    countdown.begin(ticket, GO[ticket.what](ticket));
  }

  function open(button) {
    const { act, number, ticker } = button.dataset;
    body = { what: act };
    if (act === "cancel") body.number = Number(number);
    if (act === "sell") body.ticker = ticker;
    button.blur(); // otherwise the row would be kept in place because the focus returns to it
    title.textContent = TITLE[act];
    form.hidden = act !== "sell";
    form.reset();
    figures.replaceChildren();
    lines.replaceChildren();
    dialog.showModal();
    document.getElementById("doing-no").focus();
    prepare();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button[data-act]");
    if (button) open(button);
  });
  form.addEventListener("input", () => countdown.drop());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const { count: many, least } = form.elements;
    if (body.what === "sell") body = { what: "sell", ticker: body.ticker };
    if (many.value) body.count = many.value;
    if (least.value) body.price = (Number(least.value) / 100).toFixed(4);
    prepare();
  });
  go.addEventListener("click", async () => {
    const mine = asked;
    const trouble = await confirm(countdown, DONE[body.what]);
    if (mine !== asked) return;
    if (trouble) show(figures, [["", trouble, "bad"]]), lines.replaceChildren();
    else dialog.close();
  });
  document.getElementById("doing-no").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    asked += 1;
    countdown.drop();
  });
}

// A row for every order to cancel and every position to sell.
function table({ orders, sales }) {
  const rows = [
    ...orders.map((order) => ["Cancel", what(order), `${count(order.rests_fp)} of ${count(order.count_fp)}`, cents(order.price_dollars), "", `order ${order.number}`]),
    ...sales.map((sale) => ["Sell", what(sale), `${count(sale.count_fp)} of ${count(sale.held_fp)}`, sale.price_dollars === null ? "–" : cents(sale.price_dollars), sale.price_dollars === null ? "–" : gain(sale.realised_dollars), Number(sale.left_fp) ? `${count(sale.left_fp)} not sold${sale.why ? `: ${sale.why}` : ""}` : ""]),
  ];
  if (!rows.length) return [];
  const made = document.createElement("table");
  made.className = "plain";
  const head = made.createTHead().insertRow();
  const css = ["act-name", "", "num", "num", "num", ""];
  for (const [at, name] of ["Action", "Market", "Contracts", "Price", "Realised", "Note"].entries()) head.append(Object.assign(document.createElement("th"), { textContent: name, scope: "col", className: css[at] }));
  const tbody = made.createTBody();
  for (const row of rows) {
    const line = tbody.insertRow();
    for (const [at, text] of row.entries()) Object.assign(line.insertCell(), { textContent: text, className: css[at] });
  }
  return [made];
}

// -- the form on the market page

function startForm(box, confirm) {
  const form = document.getElementById("ticket-form");
  const figures = document.getElementById("ticket-figures");
  const countdown = new Countdown(document.getElementById("ticket-confirm"));
  let touched = false;

  // The limit follows the best price until the user types another.
  function suggest() {
    const price = document.getElementById("ticket-prices")?.dataset[form.elements.side.value];
    if (!touched && price) form.elements.limit.value = +(Number(price) / 100).toFixed(2);
  }

  function drop() {
    countdown.drop();
    figures.hidden = true;
  }

  form.addEventListener("input", (event) => {
    touched = touched || event.target.name === "limit";
    if (event.target.name === "side") (touched = false), suggest();
    drop();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    drop();
    const { side, count: many, limit, rest } = form.elements;
    const price = (Number(limit.value) / 100).toFixed(4);
    const body = { what: "buy", ticker: box.dataset.ticker, side: side.value, count: many.value, price };
    if (rest.value) body.rest_seconds = Number(rest.value);
    try {
      const { ticket } = await command("prepare", body);
      show(figures, FIGURES.buy(ticket));
      countdown.begin(ticket, `Confirm: buy ${count(ticket.count_fp)} ${ticket.side.toUpperCase()}`);
    } catch (error) {
      say(error.message, "error");
    }
  });
  countdown.button.addEventListener("click", async () => {
    const trouble = await confirm(countdown, (told) => `Order ${told.orders.join(", ")} placed.`);
    if (trouble) say(trouble, "error");
    else figures.hidden = true;
  });
  suggest();
  return suggest;
}
