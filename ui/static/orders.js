// A person's own orders: the ticket of the market page; cancel, close and flatten of the trader's. What moves
// money is prepared and confirmed, or takes a typed word. All of it is the trader's business: this only asks.

import { command, say } from "./result.js";

const TICKET_MS = 60000;
const ARMED_MS = 5000;
const SHOW_MS = [0, 800, 2000, 5000]; // a market's page hears of no order: what becomes of ours is asked for

export function startOrders(live) {
  const box = document.getElementById("ticket");
  const typed = document.getElementById("typed");
  const word = document.getElementById("typed-word");
  const go = document.getElementById("typed-go");
  let then = null; // what the typed word lets happen

  const answers = () => Boolean(document.getElementById("trader-state")?.dataset.answers);
  const dollars = (text) => `$${Number(text).toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 4 })}`;
  const cents = (text) => `${+(Number(text) * 100).toFixed(2)}¢`;
  const count = (text) => +Number(text).toFixed(2);

  async function act(op, body, words) {
    try {
      const told = await command(op, body);
      if (told.refused) say(`Not done: ${told.why}.`, "error");
      else say(words(told), told.left?.length ? "warn" : "good");
      return told;
    } catch (error) {
      say(error.message, "error");
      return null;
    } finally {
      for (const ms of SHOW_MS) setTimeout(() => live.refresh(), ms);
    }
  }

  // -- a word that is typed first

  function ask(title, text, expected, todo) {
    document.getElementById("typed-title").textContent = title;
    document.getElementById("typed-why").textContent = text;
    document.getElementById("typed-expected").textContent = expected;
    go.textContent = title.replace("?", "");
    word.dataset.word = expected;
    word.value = "";
    go.disabled = true;
    then = todo;
    typed.showModal();
    word.focus();
  }

  word.addEventListener("input", () => (go.disabled = word.value !== word.dataset.word));
  document.getElementById("typed-no").addEventListener("click", () => typed.close());
  document.getElementById("typed-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (go.disabled) return;
    typed.close();
    then?.(word.value);
  });

  // A cancel is asked for once more, in the button itself: what it ends stands there until it is clicked again.
  const armings = new Map();
  function armed(button, text) {
    const { number } = button.dataset;
    if (armings.delete(number)) return true;
    armings.set(number, 0);
    button.textContent = text;
    setTimeout(() => {
      if (armings.delete(number)) for (const one of document.querySelectorAll(`button[data-number="${number}"]`)) one.textContent = "Cancel";
    }, ARMED_MS);
    return false;
  }

  const placed = (told) => `Selling: ${told.orders.length === 1 ? "order" : "orders"} ${told.orders.join(", ")}.`;
  const stays = (told) => (told.left.length ? ` ${told.left.map((one) => `${count(one.count_fp)} stay (${one.reason.replaceAll("_", " ")})`).join(", ")}.` : "");

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button[data-act]");
    if (!button) return;
    const { act: what, number, ticker, text } = button.dataset;
    if (what === "cancel") {
      if (!armed(button, text)) return;
      act("cancel", { number: Number(number) }, () => `Order ${number} is asked to end.`);
    } else if (what === "close") {
      button.blur(); // or the row would keep its place for the focus that comes back to it
      ask("Sell it?", text, "CLOSE", (typed) => act("close", { ticker, word: typed }, (told) => placed(told) + stays(told)));
    } else if (what === "flatten") {
      ask("Flatten?", document.getElementById("flatten-text")?.dataset.text ?? "", "FLATTEN", (typed) => act("flatten", { word: typed }, () => "Flattening: trading is paused, orders are cancelled, positions sold."));
    }
  });

  // -- the ticket

  const form = document.getElementById("ticket-form");
  const figures = document.getElementById("ticket-figures");
  const confirm = document.getElementById("ticket-confirm");
  let ticket = null;
  let until = 0;
  let touched = false;

  function begin() {
    form.addEventListener("submit", prepare);
    form.addEventListener("input", (event) => {
      touched = touched || event.target.name === "limit";
      if (event.target.name === "side") (touched = false), suggest();
      drop();
    });
    confirm.addEventListener("click", place);
    setInterval(wait, 1000);
    suggest();
  }

  // The limit is the best price until somebody writes another.
  function suggest() {
    const price = document.getElementById("ticket-prices")?.dataset[form.elements.side.value];
    if (!touched && price) form.elements.limit.value = +(Number(price) / 100).toFixed(2);
  }

  function drop() {
    ticket = null;
    figures.hidden = confirm.hidden = true;
  }

  async function prepare(event) {
    event.preventDefault();
    drop();
    const { side, count: many, limit, rest } = form.elements;
    const price = (Number(limit.value) / 100).toFixed(4);
    const body = { ticker: box.dataset.ticker, side: side.value, count: many.value, price };
    if (rest.value) body.rest_seconds = Number(rest.value);
    try {
      ticket = (await command("prepare", body)).ticket;
    } catch (error) {
      say(error.message, "error");
      return;
    }
    until = performance.now() + TICKET_MS;
    show();
  }

  function show() {
    const best = ticket.best_dollars === null ? "nobody offers now" : `best price now ${cents(ticket.best_dollars)}`;
    const lines = [
      ["Order", `buy ${count(ticket.count_fp)} ${ticket.side.toUpperCase()} at ${cents(ticket.price_dollars)} or better`],
      ["Now", `${best}; ${count(ticket.fillable_fp)} would be filled at once`],
      ["Cost", `${dollars(ticket.cost_dollars)} and ${dollars(ticket.fees_dollars)} in fees`],
      ["Worst case", `${dollars(ticket.worst_dollars)}: all of it can be lost`],
      ["Pays", `${dollars(ticket.payout_dollars)} if ${ticket.side.toUpperCase()}`],
      ["Risk", ticket.refused ? `refuses it: ${ticket.why}` : "lets it pass"],
    ];
    figures.replaceChildren(
      ...lines.map(([name, text]) => {
        const row = document.createElement("div");
        row.append(Object.assign(document.createElement("dt"), { textContent: name }), Object.assign(document.createElement("dd"), { textContent: text }));
        if (name === "Risk") row.className = ticket.refused ? "bad" : "good";
        return row;
      }),
    );
    figures.hidden = false;
    confirm.hidden = Boolean(ticket.refused);
    wait();
  }

  function wait() {
    if (!ticket) return;
    const left = Math.ceil((until - performance.now()) / 1000);
    confirm.disabled = left <= 0;
    confirm.textContent = left > 0 ? `Confirm: buy ${count(ticket.count_fp)} ${ticket.side.toUpperCase()} (${left} s)` : "Its time is over: prepare it again";
  }

  async function place() {
    if (!ticket) return;
    confirm.disabled = true;
    const number = ticket.number;
    const told = await act("confirm", { ticket: number }, (told) => `Order ${told.orders.join(", ")} is placed.`);
    if (told) drop();
    else wait();
  }

  if (box) begin();

  return function sync() {
    if (box) {
      box.hidden = !answers();
      suggest();
    }
  };
}
