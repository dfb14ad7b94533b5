// The line that shows the outcome of a user's action, and the request that carries it out.

const SHOWN_MS = 15000;
let hide = 0;

export function say(text, tone) {
  const result = document.getElementById("result");
  result.textContent = text;
  result.className = `banner result ${tone}`;
  result.hidden = false;
  clearTimeout(hide);
  hide = setTimeout(() => (result.hidden = true), SHOWN_MS);
}

// Returns the answer; throws an Error with a message for the user if there is none or it is a refusal.
export async function command(op, body, whom = "trader") {
  let answer, told;
  try {
    answer = await fetch(`/api/${whom}/${op}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Kalshi-Bus": "command" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(10000),
    });
    told = await answer.json();
  } catch (error) {
    throw new Error(`It is not known whether this was done: the dashboard did not answer (${error.name}).`);
  }
  if (!answer.ok) throw new Error(`Not done: ${told.error.message}`);
  return told;
}
