// The search box: results as one types (combobox pattern of the ARIA Authoring Practices).

const WAIT_MS = 120;

export function startSearch() {
  const input = document.getElementById("search");
  const list = document.getElementById("hits");
  let timer = 0;
  let asking = null;
  let chosen = -1;

  for (const [name, value] of [["role", "combobox"], ["aria-controls", "hits"], ["aria-expanded", "false"], ["aria-autocomplete", "list"]]) {
    input.setAttribute(name, value);
  }
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, WAIT_MS);
  });
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && !list.hidden) {
      event.preventDefault();
      choose((chosen + step + list.children.length) % list.children.length);
    } else if (event.key === "Enter" && !list.hidden && chosen >= 0) {
      event.preventDefault();
      list.children[chosen].click();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      if (list.hidden) input.blur();
      close();
    }
  });
  // The form, not the input: a click into the list takes the focus from the input first.
  input.form.addEventListener("focusout", (event) => {
    if (!input.form.contains(event.relatedTarget)) close();
  });
  input.addEventListener("focus", () => input.value.trim() && ask());
  list.addEventListener("mousedown", (event) => event.preventDefault());

  async function ask() {
    const text = input.value.trim();
    asking?.abort();
    if (!text) return close();
    asking = new AbortController();
    try {
      const answer = await fetch(`/api/search?limit=10&q=${encodeURIComponent(text)}`, { signal: asking.signal });
      if (answer.ok) show((await answer.json()).results);
    } catch (error) {
      if (error.name !== "AbortError") close();
    }
  }

  function show(results) {
    list.replaceChildren(...(results.length ? results.map(option) : [nothing()]));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    choose(results.length ? 0 : -1);
  }

  function option(hit, index) {
    const item = document.createElement("li");
    item.id = `hit-${index}`;
    item.setAttribute("role", "option");
    item.addEventListener("click", () => location.assign(hit.url));
    for (const [tag, text] of [["b", hit.detail && hit.kind === "market" ? hit.detail : hit.title], ["span", hit.kind === "market" ? hit.title : hit.detail || "event"], ["code", hit.ticker]]) {
      const part = document.createElement(tag);
      part.textContent = text;
      part.dir = "auto";
      item.append(part);
    }
    return item;
  }

  function nothing() {
    const item = document.createElement("li");
    item.setAttribute("role", "option");
    item.setAttribute("aria-disabled", "true");
    item.textContent = "Nothing found";
    return item;
  }

  function choose(index) {
    chosen = index;
    [...list.children].forEach((item, i) => item.setAttribute("aria-selected", String(i === index)));
    const item = list.children[index];
    if (item) input.setAttribute("aria-activedescendant", item.id);
    else input.removeAttribute("aria-activedescendant");
    item?.scrollIntoView({ block: "nearest" });
  }

  function close() {
    asking?.abort();
    clearTimeout(timer);
    list.hidden = true;
    chosen = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }
}
