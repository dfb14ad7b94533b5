// Keyboard shortcuts: / j k Enter f g e t r s a v x ? Esc. Never while typing, never with a modifier.

export function startKeys() {
  const help = document.getElementById("help");
  const opener = document.getElementById("help-open");
  opener.hidden = false;
  opener.addEventListener("click", () => help.showModal());

  const actions = {
    "/": () => focus(document.getElementById("search")),
    f: () => focus(document.querySelector("#filters [name=q]")),
    j: () => step(1),
    k: () => step(-1),
    g: () => location.assign("/"),
    e: () => location.assign("/explore"),
    t: () => location.assign("/trader"),
    r: () => location.assign("/results"),
    s: () => location.assign("/system"),
    a: () => location.assign("/alerts"),
    v: () => document.getElementById("view").showModal(),
    x: () => document.getElementById("kill").focus(),
    "?": () => help.showModal(),
    Escape: () => document.activeElement?.blur(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches("input:not([type=checkbox]), select, textarea") && event.key !== "Escape") return;
    const action = actions[event.key];
    if (!action) return;
    if (event.key !== "Escape") event.preventDefault();
    action();
  });

  function focus(field) {
    field?.focus();
    field?.select();
  }

  // The row's link gets the focus, so Enter opens it by itself.
  function step(by) {
    const links = [...document.querySelectorAll("a.go")];
    if (!links.length) return;
    const row = document.activeElement?.closest("tr");
    const at = links.findIndex((link) => row?.contains(link));
    const next = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by))];
    next.focus({ preventScroll: true });
    next.closest("tr").scrollIntoView({ block: "nearest" });
  }
}
