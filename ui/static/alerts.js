// Alerts: counted in the tab's title on every page, and shown as notifications and sounds where these are allowed,
// each once however many tabs are open. Also the page on which rules are edited. The server decides what is an
// alert; this script polls for new ones.

import { command, say } from "./result.js";

const EVERY_MS = 5000;
const ARMED_MS = 5000;
const AT_ONCE = 3;
const SHOWN_MOST = 99;

// Storage may be unavailable or full; then this tab remembers for itself.
const memory = new Map();
function kept(name) {
  try {
    return localStorage.getItem(`kalshi-bus-${name}`) ?? memory.get(name) ?? null;
  } catch {
    return memory.get(name) ?? null;
  }
}
function keep(name, value) {
  memory.set(name, String(value));
  try {
    localStorage.setItem(`kalshi-bus-${name}`, value);
  } catch {}
}

export function startAlerts(live) {
  if (!document.documentElement.hasAttribute("data-alerts")) return () => {};
  const here = location.pathname === "/alerts";
  const count = document.getElementById("alerts-count");
  let last = null; // the number of the newest message
  let sounds = null;

  function sync() {
    if (last === null) return;
    if (here && !document.hidden) keep("alerts-seen", last);
    const unseen = Math.max(0, last - Number(kept("alerts-seen") ?? last));
    const shown = unseen > SHOWN_MOST ? `${SHOWN_MOST}+` : String(unseen);
    const title = document.title.replace(/^\(\d+\+?\) /, "");
    const wanted = unseen ? `(${shown}) ${title}` : title;
    if (document.title !== wanted) document.title = wanted;
    count.hidden = !unseen;
    if (count.textContent !== shown) count.textContent = shown;
    count.setAttribute("aria-label", `${shown} unread`);
  }

  async function ask() {
    try {
      const after = kept("alerts-told");
      const answer = await fetch(`/api/alerts?after=${after ?? 0}`, { signal: AbortSignal.timeout(4000) });
      const told = await answer.json();
      if (!answer.ok || !told.answers) return;
      last = told.last;
      if (after === null || Number(after) > last || kept("alerts-seen") === null || Number(kept("alerts-seen")) > last) {
        keep("alerts-told", last); // this browser's first look, or numbering that started over
        keep("alerts-seen", last);
      } else if (last > Number(after)) {
        const once = navigator.locks ? (todo) => navigator.locks.request("kalshi-bus-alerts", todo) : (todo) => todo();
        await once(() => tell(told));
      }
      sync();
    } catch {} // the next poll tries again
  }

  function tell(told) {
    const fresh = told.messages.filter((one) => one.number > Number(kept("alerts-told")) && !one.quiet).reverse();
    keep("alerts-told", told.last);
    if (!fresh.length) return;
    const newest = fresh.at(-1);
    if (!document.hidden) say(`${newest.title}: ${newest.text}${fresh.length > 1 ? ` (and ${fresh.length - 1} more)` : ""}`, "warn");
    if (window.Notification?.permission === "granted") {
      for (const one of fresh.slice(-AT_ONCE)) {
        const note = new Notification(`kalshi-bus: ${one.title}`, { body: one.text, tag: `kalshi-bus-${one.number}` });
        note.addEventListener("click", () => {
          window.focus();
          location.assign("/alerts");
        });
      }
      const more = fresh.length - AT_ONCE;
      if (more > 0) new Notification(`kalshi-bus: ${more} more alerts`, { tag: "kalshi-bus-more" });
    }
    if (kept("alerts-sound") === "on") beep();
  }

  // Two short tones; browsers mute a tab that nobody has interacted with since it was loaded.
  function beep() {
    sounds ??= new AudioContext();
    sounds.resume();
    for (const [at, pitch] of [[0, 880], [0.18, 1320]]) {
      const tone = new OscillatorNode(sounds, { frequency: pitch });
      const loud = new GainNode(sounds, { gain: 0 });
      const begin = sounds.currentTime + at;
      loud.gain.setValueAtTime(0.0001, begin);
      loud.gain.exponentialRampToValueAtTime(0.2, begin + 0.02);
      loud.gain.exponentialRampToValueAtTime(0.0001, begin + 0.15);
      tone.connect(loud).connect(sounds.destination);
      tone.start(begin);
      tone.stop(begin + 0.16);
    }
  }

  ask();
  setInterval(ask, EVERY_MS);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    sync();
    ask();
  });
  addEventListener("storage", sync);
  if (here) startPage(live, beep);
  return sync;
}

function startPage(live, beep) {
  const form = () => document.getElementById("alert-form");
  const show = () => {
    for (const box of document.querySelectorAll("#alert-form, #quiet-form")) box.hidden = false;
    fields();
    browser();
  };

  async function act(op, body, words) {
    try {
      const done = await command(op, body, "alerts");
      say(words(done), "good");
      live.refresh();
      return true;
    } catch (error) {
      say(error.message, "error");
      return false;
    }
  }

  // -- this browser

  function browser() {
    const notify = document.getElementById("alerts-notify");
    const sound = document.getElementById("alerts-sound");
    const note = document.getElementById("alerts-notify-note");
    if (!notify) return;
    const may = window.Notification?.permission;
    notify.hidden = may !== "default";
    sound.hidden = false;
    const on = kept("alerts-sound") === "on";
    sound.setAttribute("aria-pressed", on);
    sound.textContent = on ? "Sound: on" : "Sound: off";
    note.textContent = {
      granted: "This browser shows notifications while a tab of the dashboard is open.",
      denied: "Notifications are blocked; allow them in this browser's settings for this page.",
      default: "Once allowed, notifications are shown while a tab of the dashboard is open.",
    }[may] ?? "This browser allows notifications only on localhost and over HTTPS.";
  }

  // -- the form of a rule

  function fields() {
    if (!form()) return;
    const kind = form().elements.kind.value;
    for (const label of form().querySelectorAll("[data-of]")) label.hidden = label.dataset.of !== kind;
    form().elements.ticker.required = form().elements.at.required = kind === "price";
  }

  const dollars = (text, digits) => Number(text).toFixed(digits);

  function rule() {
    const { kind, number, on, ticker, of, crosses, at, back, least, series, percent, note, urgent, ends } = form().elements;
    const made = { kind: kind.value, number: Number(number.value), on: on.value === "yes", urgent: urgent.checked, ends: ends.checked, note: note.value.trim() };
    if (made.kind === "price") Object.assign(made, { ticker: ticker.value.trim(), of: of.value, crosses: crosses.value, at_dollars: dollars(at.value / 100, 4), back_dollars: dollars(back.value / 100, 4) });
    if (made.kind === "edge") Object.assign(made, { least_dollars: dollars(least.value, 6), series: series.value.trim().toUpperCase() });
    if (made.kind === "limit") made.percent = Number(percent.value);
    return made;
  }

  function edit(one) {
    const made = form().elements;
    made.number.value = one.number;
    made.on.value = one.on ? "yes" : "no";
    made.kind.value = one.kind;
    made.kind.disabled = true;
    for (const name of ["ticker", "of", "crosses", "series", "percent", "note"]) if (name in one) made[name].value = one[name];
    if (one.kind === "price") (made.at.value = +(one.at_dollars * 100).toFixed(2)), (made.back.value = +(one.back_dollars * 100).toFixed(2));
    if (one.kind === "edge") made.least.value = +one.least_dollars;
    made.urgent.checked = one.urgent;
    made.ends.checked = one.ends;
    heading(`Edit rule ${one.number}`, "Save");
    fields();
    made.note.focus();
  }

  function heading(text, button) {
    document.getElementById("add").textContent = text;
    form().querySelector("button:not([type])").textContent = button;
    document.getElementById("alert-cancel").hidden = button === "Add";
  }

  function clear() {
    form().reset();
    form().elements.number.value = 0;
    form().elements.on.value = "yes";
    form().elements.kind.disabled = false;
    heading("Add a rule", "Add");
    fields();
  }

  const armings = new Set();
  function armed(button) {
    const { number } = button.dataset;
    if (armings.delete(number)) return true;
    armings.add(number);
    button.textContent = "Remove?";
    setTimeout(() => {
      armings.delete(number);
      for (const one of document.querySelectorAll(`[data-alert=remove][data-number="${number}"]`)) one.textContent = "Remove";
    }, ARMED_MS);
    return false;
  }

  document.addEventListener("input", (event) => event.target.form?.id === "alert-form" && event.target.name === "kind" && fields());
  document.addEventListener("submit", async (event) => {
    if (event.target.id === "alert-form") {
      event.preventDefault();
      const made = rule();
      if (await act("set_rule", { rule: made }, (done) => `Rule ${done.number} saved.`)) clear();
    } else if (event.target.id === "quiet-form") {
      event.preventDefault();
      const { begins, ends, zone } = event.target.elements;
      const quiet = { begins: begins.value.trim(), ends: ends.value.trim(), zone: zone.value.trim() || "UTC" };
      act("set_quiet", { quiet }, () => (quiet.begins ? `Quiet from ${quiet.begins} to ${quiet.ends}.` : "No quiet hours."));
    }
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button");
    if (!button) return;
    if (button.id === "alert-cancel") clear();
    if (button.id === "alerts-notify") {
      await Notification.requestPermission();
      browser();
    }
    if (button.id === "alerts-sound") {
      keep("alerts-sound", kept("alerts-sound") === "on" ? "off" : "on");
      if (kept("alerts-sound") === "on") beep();
      browser();
    }
    const { alert: what, number } = button.dataset;
    if (what === "edit") edit(JSON.parse(button.dataset.rule));
    if (what === "toggle") {
      const one = JSON.parse(button.dataset.rule);
      button.blur();
      act("set_rule", { rule: { ...one, on: !one.on } }, () => `Rule ${one.number} is ${one.on ? "off" : "on"}.`);
    }
    if (what === "test") act("test", number ? { number: Number(number) } : {}, () => "Test sent: check below, and where it should arrive.");
    if (what === "remove" && armed(button)) act("remove_rule", { number: Number(number) }, () => `Rule ${number} removed.`);
  });
  // Also show forms that arrive later, when the alerts answer again.
  new MutationObserver(() => document.querySelector("#alert-form[hidden]") && show()).observe(document.getElementById("main"), { childList: true, subtree: true });
  show();
}
