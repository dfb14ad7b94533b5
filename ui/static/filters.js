// The filter form without page loads: the address carries its state, so a link shows the same list.

const WAIT_MS = 250;

export function startFilters(live) {
  const form = document.getElementById("filters");
  if (!form) return;
  const apply = document.getElementById("go"); // carries the order along, also without scripts
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
  form.querySelector("#reset").addEventListener("click", (event) => {
    event.preventDefault();
    for (const field of form.elements) {
      if (field.type === "checkbox") field.checked = false;
      else if (field.type !== "submit") field.value = "";
    }
    apply.value = "";
    go();
  });
  addEventListener("popstate", () => {
    const query = new URLSearchParams(location.search);
    for (const field of form.elements) {
      if (field.type === "checkbox") field.checked = query.get(field.name) === field.value;
      else if (field.type !== "submit") field.value = query.get(field.name) ?? "";
    }
    apply.value = query.get("sort") ?? "";
    live.refresh();
  });

  function go() {
    const fields = [...new FormData(form), ["sort", apply.value]];
    const query = new URLSearchParams(fields.filter(([, value]) => value !== ""));
    const search = query.size ? `?${query}` : "";
    if (search !== location.search) history.pushState(null, "", location.pathname + search);
    form.querySelector("#csv").href = `/opportunities.csv${search}`;
    live.refresh();
  }
}
