// The filter form without page loads: the address carries its state, so a link shows the same list.

const WAIT_MS = 250;

export function startFilters(live) {
  const form = document.getElementById("filters");
  if (!form) return;
  const kept = document.getElementById("sort-kept");
  let timer = 0;

  form.querySelector("#go").hidden = true;
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => form.reportValidity() && go(), WAIT_MS);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (event.submitter?.name === "sort") kept.value = event.submitter.value;
    go();
  });
  form.querySelector("#reset").addEventListener("click", (event) => {
    event.preventDefault();
    for (const field of form.elements) {
      if (field.type === "checkbox") field.checked = false;
      else if (field.name) field.value = "";
    }
    go();
  });
  addEventListener("popstate", () => {
    const query = new URLSearchParams(location.search);
    for (const field of form.elements) {
      if (field.type === "checkbox") field.checked = query.get(field.name) === field.value;
      else if (field.name) field.value = query.get(field.name) ?? "";
    }
    live.refresh();
  });

  function go() {
    const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
    const search = query.size ? `?${query}` : "";
    if (search !== location.search) history.pushState(null, "", location.pathname + search);
    form.querySelector("#csv").href = `/opportunities.csv${search}`;
    live.refresh();
  }
}
