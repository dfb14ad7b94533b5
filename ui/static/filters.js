// The filter form without page loads: the address holds its state, so a link shows the same list.

const WAIT_MS = 250;
const ONLY_HERE = ["cols", "pin", "limit"]; // only for the page: a file has all columns and no pins

export function startFilters(live) {
  const form = document.getElementById("filters");
  if (!form) return;
  const apply = document.getElementById("go"); // also submits the sort order, even without scripts
  let timer = 0;

  apply.hidden = true;
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => form.reportValidity() && go(), WAIT_MS);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (event.submitter?.name === "sort") apply.value = event.submitter.value;
    go();
  });
  form.querySelector("#reset")?.addEventListener("click", (event) => {
    event.preventDefault();
    take(new URLSearchParams());
    go();
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.pin, a.pin-link");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    take(new URL(link.href).searchParams);
    go();
  });
  addEventListener("popstate", () => {
    take(new URLSearchParams(location.search));
    show(location.search);
  });

  // Set the form to a query.
  function take(query) {
    const chosen = (query.get("cols") ?? "").split(",");
    for (const field of form.elements) {
      if (field.name === "cols") field.checked = chosen.includes(field.value);
      else if (field.type === "checkbox") field.checked = query.get(field.name) === field.value;
      else if (field.type !== "submit") field.value = query.get(field.name) ?? "";
    }
    apply.value = query.get("sort") ?? "";
  }

  function go() {
    const fields = new FormData(form);
    const query = new URLSearchParams();
    for (const name of new Set(fields.keys())) query.set(name, fields.getAll(name).join(","));
    query.set("sort", apply.value);
    for (const [name, value] of [...query]) if (!value) query.delete(name);
    const search = query.size ? `?${query}` : "";
    if (search !== location.search) history.pushState(null, "", location.pathname + search);
    show(search);
  }

  function show(search) {
    const file = new URLSearchParams(search);
    for (const name of ONLY_HERE) file.delete(name);
    const csv = form.querySelector("#csv");
    if (csv) csv.href = `${new URL(csv.href).pathname}${file.size ? `?${file}` : ""}`;
    live.refresh();
  }
}
