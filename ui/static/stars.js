// Stars put a market on the watchlist, which the server keeps; then the page refreshes.

import { say } from "./result.js";

export function startStars(live) {
  document.addEventListener("click", async (event) => {
    const star = event.target.closest("[data-star]");
    if (!star || star.disabled) return;
    const starred = star.getAttribute("aria-pressed") !== "true";
    star.disabled = true;
    try {
      const answer = await fetch("/api/watchlist", { method: "POST", headers: { "Content-Type": "application/json", "X-Kalshi-Bus": "command" }, body: JSON.stringify({ ticker: star.dataset.star, starred }) });
      const said = await answer.json();
      if (answer.ok) star.setAttribute("aria-pressed", String(starred));
      else say(said.error.message, "bad");
    } catch {
      say("The dashboard does not answer: the watchlist has not changed.", "bad");
    }
    star.disabled = false;
    live.refresh();
  });
}
