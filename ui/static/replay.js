// The replay bar: pause, speed, and a slider over the recording. A control in use is not moved.

import { moment } from "./zone.js";

export function startReplay(live) {
  const bar = document.getElementById("replay-bar");
  const pause = document.getElementById("replay-pause");
  const speed = document.getElementById("replay-speed");
  const at = document.getElementById("replay-at");
  const time = document.getElementById("replay-time");
  let paused = false;

  pause.addEventListener("click", () => send({ action: paused ? "resume" : "pause" }));
  speed.addEventListener("change", () => send({ action: "speed", speed: Number(speed.value) }));
  at.addEventListener("input", () => (time.textContent = moment(Number(at.value))));
  at.addEventListener("change", () => send({ action: "seek", to_ms: Number(at.value) }));

  async function send(body) {
    const headers = { "Content-Type": "application/json", "X-Kalshi-Bus": "command" };
    try {
      const answer = await fetch("/api/replay", { method: "POST", headers, body: JSON.stringify(body), signal: AbortSignal.timeout(10000) });
      if (!answer.ok) time.textContent = (await answer.json()).error.message;
    } catch (error) {
      time.textContent = `It is not known whether this was done (${error.name}).`;
    }
    at.blur();
    live.refresh();
  }

  function sync() {
    const state = JSON.parse(document.getElementById("replay-state")?.dataset.state ?? "null");
    bar.hidden = !state;
    if (!state) return;
    paused = state.paused;
    pause.textContent = paused ? "Play" : "Pause";
    if (document.activeElement !== speed) speed.value = String(state.speed);
    if (document.activeElement === at) return;
    [at.min, at.max, at.value] = [state.begin_ms, Math.max(state.end_ms ?? 0, state.position_ms), state.position_ms];
    time.textContent = moment(state.position_ms) + (state.ended ? ", the end" : paused ? ", paused" : "");
  }

  sync();
  return sync;
}
