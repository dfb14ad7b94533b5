// Tables by keyboard. One row of each table is in the tab order, so that Tab gets past the table; up, down, Home and
// End move between rows, left and right between the controls in a row.

const CONTROLS = "a, button, summary";

export function startRows() {
  const chosen = new WeakMap(); // table body -> key of the row that Tab reaches

  const rowsOf = (body) => [...body.children].filter((row) => row.querySelector("a.go"));
  const rowOf = (element) => {
    let row = element?.closest?.("tr");
    while (row && !row.querySelector(":scope > * a.go")) row = row.parentElement?.closest("tr");
    return row;
  };
  const shown = (element) => element.checkVisibility();

  function settle() {
    for (const body of document.querySelectorAll("main tbody:has(> tr a.go)")) {
      const rows = rowsOf(body);
      const focused = rows.find((row) => row.contains(document.activeElement));
      const current = focused ?? rows.find((row) => row.dataset.key === chosen.get(body)) ?? rows[0];
      if (focused) chosen.set(body, focused.dataset.key);
      for (const row of rows) for (const control of row.querySelectorAll(CONTROLS)) reach(control, row === current);
    }
  }

  function reach(control, tab) {
    if (tab) control.removeAttribute("tabindex");
    else if (control.tabIndex !== -1) control.tabIndex = -1;
  }

  function controls(row) {
    return [...row.querySelectorAll(CONTROLS)].filter(shown);
  }

  document.addEventListener("focusin", (event) => rowOf(event.target) && settle());
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (!event.target.matches(CONTROLS)) return;
    const row = rowOf(event.target);
    if (!row) return;
    const rows = rowsOf(row.parentElement).filter(shown);
    const here = controls(row);
    const [at, among] = [rows.indexOf(row), here.indexOf(event.target)];
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    const beside = { ArrowRight: among + 1, ArrowLeft: among - 1 }[event.key];
    if (to !== undefined && rows[to]) focus(rows[to], event.target.className);
    else if (beside !== undefined && here[beside]) here[beside].focus();
    else if (to === undefined && beside === undefined) return;
    event.preventDefault();
  });

  // Moves to the same control of another row: from pin to pin, from name to name.
  function focus(row, name) {
    const there = controls(row);
    (there.find((one) => one.className === name) ?? there.find((one) => one.matches("a.go")) ?? there[0])?.focus();
  }

  settle();
  return settle;
}
