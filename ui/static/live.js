// Keeps the page current: when an event announces a change, the page fetches itself, less the rows that it already
// has unchanged, and patches itself. If events fail it polls; if the server fails it says so and keeps trying.

import { duration, settle } from "./ages.js";
import { patch } from "./patch.js";

const POLL_MS = 15000;
const LEAST_MS = 500;
const RETRY_MS = [2000, 5000, 10000, 20000];
const ANNOUNCE_MS = 10000;
const REPEAT_MS = 60000; // a notice in which only ages changed is repeated this often
const PARTS = ["strip", "watched", "replay", "banners", "main", "cut"];

export function startLive(tick) {
  const root = document.documentElement;
  const offline = document.getElementById("offline");
  const apply = document.getElementById("apply");
  const poll = root.hasAttribute("data-still") ? null : Number(root.dataset.poll ?? POLL_MS);
  let source = null;
  let tries = 0;
  let retry = 0;
  let fetching = null;
  let again = false;
  let last = performance.now();
  let timer = 0;
  let answered = Date.now();
  let have = ""; // the server's name for this page: the server leaves out rows that have not changed since
  let streaming = true;
  let reachable = true;
  let said = "";
  let announced = 0;
  let later = 0;

  // Rows under the pointer or the focus stay where they are.
  const pinned = (body) => body.hasAttribute("data-rows") && (body.matches(":hover") || body.contains(document.activeElement));

  async function refresh(force = false) {
    if (fetching && !force) {
      again = true;
      return;
    }
    fetching?.abort();
    const mine = (fetching = new AbortController());
    const asked = performance.now();
    last = asked;
    try {
      const answer = await fetch(location.href, { headers: have && !force ? { "X-Kalshi-Bus-Have": have } : {}, signal: AbortSignal.any([mine.signal, AbortSignal.timeout(10000)]) });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = page.getElementById("main");
      if (mine !== fetching) return;
      if (!main) throw new Error(`no page in the answer ${answer.status}`);
      const other = (name) => page.documentElement.dataset[name] !== root.dataset[name];
      if (other("version") || (other("preferences") && !document.querySelector("dialog[open]"))) {
        location.reload(); // the dashboard has a new version, or its display settings changed
        return;
      }
      settle(Number(answer.headers.get("X-Kalshi-Bus-Now") ?? main.dataset.now), asked);
      have = show(page, force) ? (answer.headers.get("X-Kalshi-Bus-Page") ?? "") : "";
      answered = Date.now();
      state({ reachable: true });
    } catch (error) {
      if (mine !== fetching) return;
      state({ reachable: false });
    }
    fetching = null;
    if (again) {
      again = false;
      soon();
    }
  }

  // Returns whether the page is now exactly what was sent.
  function show(page, force) {
    let waiting = 0;
    let lacking = false;
    for (const id of PARTS) {
      const done = patch(document.getElementById(id), page.getElementById(id), force ? () => false : pinned);
      waiting += done.waiting;
      lacking ||= done.lacking;
    }
    document.title = page.title;
    if (apply) {
      apply.hidden = waiting === 0;
      apply.textContent = `${waiting} ${waiting === 1 ? "change" : "changes"} waiting`;
    }
    tick();
    announce();
    if (lacking) again = true;
    return !waiting && !lacking;
  }

  function soon() {
    clearTimeout(timer);
    timer = setTimeout(refresh, Math.max(0, LEAST_MS - (performance.now() - last)));
  }

  // Announces notices, and the age of stale data, to screen readers, but not on every tick.
  function announce() {
    const banners = [...document.querySelectorAll("#banners [data-code], #offline:not([hidden])")];
    const text = banners.map((banner) => banner.textContent).join(" ") || "Data is current.";
    const same = text.replace(/\d+/g, "") === said.replace(/\d+/g, "");
    const wait = announced + (same ? REPEAT_MS : ANNOUNCE_MS) - performance.now();
    clearTimeout(later);
    if (text === said || (same && !banners.length)) return;
    if (announced && wait > 0) {
      later = setTimeout(announce, wait);
      return;
    }
    if (said || banners.length) document.getElementById("announce").textContent = text;
    said = text;
    announced = performance.now();
  }

  function state(change) {
    ({ streaming = streaming, reachable = reachable } = change);
    const since = duration(Date.now() - answered);
    offline.hidden = reachable && streaming;
    offline.textContent = reachable
      ? "Live updates are interrupted; this page polls every 15 s instead."
      : `The dashboard has not answered for ${since}. This is what it last showed; trying again.`;
    root.classList.toggle("unreachable", !reachable);
    announce();
  }

  function connect() {
    source?.close();
    clearTimeout(retry);
    if (document.hidden) return; // a hidden tab holds no connection; it starts afresh when shown
    source = new EventSource(`/events${root.dataset.listen ? `?${root.dataset.listen}` : ""}`);
    source.addEventListener("update", () => {
      tries = 0;
      state({ streaming: true });
      soon();
    });
    source.onerror = () => {
      // Browsers give up for good if the answer is not a stream, so we reconnect ourselves.
      source.close();
      tries += 1;
      retry = setTimeout(connect, RETRY_MS[Math.min(tries, RETRY_MS.length) - 1]);
      if (tries > 1) state({ streaming: false });
      soon();
    };
  }

  if (poll) {
    connect();
    setInterval(() => {
      if (!document.hidden && (performance.now() - last > poll - 500 || !reachable)) refresh();
    }, Math.min(poll, 5000));
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) source?.close();
      else {
        connect();
        refresh();
      }
    });
    addEventListener("pagehide", () => source?.close());
  }
  // Applies what waited for the pointer or the focus to leave the rows.
  const release = () => setTimeout(() => !apply.hidden && ![...document.querySelectorAll("[data-rows]")].some(pinned) && refresh(true), 400);
  if (apply) {
    apply.addEventListener("click", () => refresh(true));
    document.getElementById("list").addEventListener("pointerout", release);
    document.getElementById("list").addEventListener("focusout", release);
  }
  return { refresh: () => refresh(true) };
}
