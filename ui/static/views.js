// Saved views of the opportunities: named filters, sort order, columns and pins. They are addresses, stored in this
// browser; stored entries that are not valid are ignored.

const KEY = "kalshi-bus-views";
const VIEWS_MAX = 30;
const NAME_MAX = 40;
const QUERY_MAX = 4000;

export function startViews() {
  const menu = document.getElementById("views");
  if (!menu) return;
  const list = document.getElementById("views-list");
  const form = document.getElementById("views-form");
  const told = document.getElementById("views-told");
  menu.hidden = false;

  function kept() {
    try {
      const views = JSON.parse(localStorage.getItem(KEY));
      return Array.isArray(views) ? views.filter(sound).slice(0, VIEWS_MAX) : [];
    } catch {
      return []; // storage is unavailable, or its content is not ours
    }
  }

  function sound(view) {
    const { name, query } = view ?? {};
    return typeof name === "string" && name && name.length <= NAME_MAX && typeof query === "string" && query.length <= QUERY_MAX && /^(\?|$)/.test(query);
  }

  function keep(views) {
    try {
      localStorage.setItem(KEY, JSON.stringify(views));
      told.textContent = "";
    } catch (error) {
      told.textContent = `Not saved: ${error.name}.`;
    }
    show();
  }

  function show() {
    const views = kept();
    list.replaceChildren(...views.map(entry));
    list.hidden = !views.length;
  }

  function entry(view) {
    const item = document.createElement("li");
    const link = Object.assign(document.createElement("a"), { href: `/${view.query}`, textContent: view.name });
    link.dir = "auto";
    if (view.query === location.search) link.setAttribute("aria-current", "true");
    const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "Remove", className: "small-act" });
    remove.setAttribute("aria-label", `Remove the view ${view.name}`);
    remove.addEventListener("click", () => {
      keep(kept().filter((one) => one.name !== view.name));
      (list.querySelector("button") ?? form.elements.name).focus();
    });
    item.append(link, remove);
    return item;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = form.elements.name.value.trim();
    if (!name) return;
    const others = kept().filter((one) => one.name !== name);
    if (others.length >= VIEWS_MAX) told.textContent = `At most ${VIEWS_MAX} views can be saved: remove one first.`;
    else if (location.search.length > QUERY_MAX) told.textContent = "This address is too long to save.";
    else {
      keep([...others, { name, query: location.search }]);
      form.reset();
    }
  });
  menu.addEventListener("toggle", () => menu.open && show());
  addEventListener("storage", (event) => event.key === KEY && show());
}
