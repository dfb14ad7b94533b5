// The search box: results as you type (combobox pattern of the ARIA Authoring Practices).

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
      if (answer.ok) show(await answer.json());
    } catch (error) {
      if (error.name !== "AbortError") close();
    }
  }

  function show({ results, read_as: readAs, ready }) {
    const taken = Object.values(readAs).flat();
    list.replaceChildren(...(results.length ? results.map(option) : [nothing(ready)]));
    list.setAttribute("aria-label", taken.length ? `Search results, read as ${taken.join(" or ")}` : "Search results");
    if (taken.length) list.firstElementChild.append(readAsLine(taken));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    choose(results.length ? 0 : -1);
  }

  function option(hit, index) {
    const item = document.createElement("li");
    item.id = `hit-${index}`;
    item.setAttribute("role", "option");
    item.addEventListener("click", () => location.assign(hit.url));
    for (const [tag, text] of [["b", hit.detail && hit.kind === "market" ? hit.detail : hit.title], ["span", hit.kind === "market" ? hit.title : hit.detail || hit.kind], ["code", hit.ticker]]) {
      const part = document.createElement(tag);
      part.textContent = text;
      part.dir = "auto";
      item.append(part);
    }
    item.append(price(hit));
    return item;
  }

  function readAsLine(taken) {
    const line = document.createElement("div");
    line.className = "hit-read-as";
    line.textContent = `Read as ${taken.join(" or ")}`;
    return line;
  }

  function price({ kind, display }) {
    const line = document.createElement("div");
    line.className = "hit-price";
    const words = kind === "market" ? [["bid", display.yes_bid], ["ask", display.yes_ask], ["last", display.last_price], ["1 day", display.change]] : [["", display.amount]];
    for (const [word, text] of words) {
      const name = document.createElement("em");
      name.textContent = word ? `${word} ` : "";
      line.append(name, `${text}  `);
    }
    return line;
  }

  function nothing(ready) {
    const item = document.createElement("li");
    item.setAttribute("role", "option");
    item.setAttribute("aria-disabled", "true");
    item.textContent = ready ? "Nothing found" : "Building the index";
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
