// The kill switch and the other commands. Killing takes one press held for a second, by pointer or key; releasing
// takes a typed word and a few seconds to think. The outcome of a command is shown, and the page refreshes.

import { say } from "./result.js";

const HOLD_MS = 1000;
const THINK_S = 3;

export function startControl(live) {
  const kill = document.getElementById("kill");
  const release = document.getElementById("release");
  const word = document.getElementById("release-word");
  const go = document.getElementById("release-go");
  let hold = 0;
  let think = 0;
  let left = 0;
  let busy = false;
  let did = false; // this press has already sent a command, so the click that follows is ignored

  const state = () => document.getElementById("trader-state")?.dataset ?? {};
  const killed = () => Boolean(state().killed);

  // -- kill

  function press() {
    did = false;
    if (hold || busy || killed()) return;
    kill.classList.add("holding");
    hold = setTimeout(() => {
      lift();
      did = true;
      send("kill", { reason: "by hand on the dashboard" });
    }, HOLD_MS);
  }

  function lift() {
    clearTimeout(hold);
    hold = 0;
    kill.classList.remove("holding");
  }

  kill.addEventListener("pointerdown", (event) => event.button === 0 && press());
  for (const name of ["pointerup", "pointerleave", "pointercancel", "blur"]) kill.addEventListener(name, lift);
  kill.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch must not open a menu
  kill.addEventListener("keydown", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    if (!killed()) event.preventDefault();
    if (!event.repeat) press();
  });
  kill.addEventListener("keyup", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    if (!killed() && hold) say("Hold for a second to kill.", "warn");
    lift();
  });
  kill.addEventListener("click", () => {
    if (did) return void (did = false);
    if (busy) return;
    if (killed()) ask();
    else say("Hold for a second to kill.", "warn");
  });

  // -- release

  function ask() {
    document.getElementById("release-why").textContent = killed()
      ? `Killed: ${state().killed}`
      : "The daily loss limit has been reached. If you resume, the count starts again from zero, so that much can be lost once more.";
    word.value = "";
    left = THINK_S;
    clearInterval(think);
    think = setInterval(() => {
      left -= 1;
      ready();
    }, 1000);
    ready();
    release.showModal();
    word.focus();
  }

  function ready() {
    if (left <= 0) clearInterval(think);
    go.textContent = left > 0 ? `Release in ${left} s` : "Release";
    go.disabled = left > 0 || word.value !== word.dataset.word;
  }

  word.addEventListener("input", ready);
  document.getElementById("release-no").addEventListener("click", () => release.close());
  document.getElementById("release-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (go.disabled) return;
    release.close();
    send("resume", { word: word.value });
  });

  // -- pause and resume, on the trader's page

  document.getElementById("pause")?.addEventListener("click", () => send("pause", { reason: "by hand on the dashboard" }));
  document.getElementById("resume")?.addEventListener("click", () => (state().lost ? ask() : send("resume", {})));

  async function send(op, body) {
    busy = true;
    say({ kill: "Killing…", pause: "Pausing…", resume: "Resuming…" }[op], "warn");
    try {
      const answer = await fetch(`/api/trader/${op}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Kalshi-Bus": "command" },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(10000),
      });
      const told = await answer.json();
      if (answer.ok) say(words(op, told), op === "kill" ? "error" : "good");
      else say(op === "kill" ? told.error.message : `Not done: ${told.error.message}`, "error");
    } catch (error) {
      say(`It is not known whether this was done: the dashboard did not answer (${error.name}).${op === "kill" ? ` Run: ${kill.dataset.typed}` : ""}`, "error");
    }
    busy = false;
    live.refresh();
  }

  function words(op, told) {
    const but = told.warning ? ` But ${told.warning}.` : "";
    if (op !== "kill") return `The trader is ${told.state}.${but}`;
    if (!told.answered) return `Killed. No trader is answering; the switch also applies to the next one.${but}`;
    const some = (number, name) => `${number ?? "an unknown number of"} ${name}${number === 1 ? "" : "s"}`;
    return `Killed: nothing more will be bought. ${some(told.open_orders, "order")} open, ${some(told.positions, "position")} kept until settlement.${but}`;
  }

  function sync() {
    const { state: now, answers } = state();
    kill.hidden = now === undefined;
    kill.classList.toggle("is-killed", killed());
    kill.firstElementChild.textContent = killed() ? "Release" : "Kill";
    kill.title = killed() ? "Resume trading" : "Hold for a second to stop all trading, even through restarts (x)";
    document.getElementById("kill-hint").textContent = killed() ? "Opens a dialog." : "Hold for a second to stop all trading. The kill switch survives restarts.";
    const controls = document.getElementById("controls");
    if (!controls) return;
    controls.hidden = !answers || killed();
    document.getElementById("pause").hidden = now === "paused";
    document.getElementById("resume").hidden = now !== "paused" && !state().lost;
  }

  sync();
  return sync;
}
