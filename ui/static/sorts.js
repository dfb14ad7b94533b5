// Sorts the trader's tables without page loads; the address holds the order, so a link shows the same.

export function startSorts(live) {
  document.addEventListener("submit", (event) => {
    if (event.target.id !== "sorts" || !event.submitter) return;
    event.preventDefault();
    const query = new URLSearchParams(location.search);
    query.set(event.submitter.name, event.submitter.value);
    history.pushState(null, "", `${location.pathname}?${query}`);
    live.refresh();
  });
  if (document.getElementById("sorts")) addEventListener("popstate", () => live.refresh());
}
