// Time zone, theme and density: in a cookie, so that the server renders the next page right from its first byte.

const COOKIE = "kalshi-bus-preferences";
const YEAR_S = 31536000;

export function startPreferences() {
  const root = document.documentElement;
  const dialog = document.getElementById("view");
  const form = document.getElementById("view-form");
  const opener = document.getElementById("view-open");
  const here = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
  let changed = false;

  document.getElementById("view-local").textContent = here ? `(${here})` : "";
  opener.hidden = false;
  opener.addEventListener("click", () => dialog.showModal());

  function keep() {
    const { zone, theme, density } = Object.fromEntries(new FormData(form));
    const said = new URLSearchParams({ zone: zone === "local" ? `local:${here}` : zone, theme, density });
    document.cookie = `${COOKIE}=${said}; path=/; max-age=${YEAR_S}; samesite=lax`;
  }

  form.addEventListener("change", () => {
    keep();
    changed = true;
    const { theme, density } = Object.fromEntries(new FormData(form));
    Object.assign(root.dataset, { theme, density });
  });
  // Rebuilds times and charts. Other tabs notice by themselves that their page has changed.
  dialog.addEventListener("close", () => changed && location.reload());

  // A browser that has travelled takes its zone along.
  const [word, name] = root.dataset.preferences.split(" ")[0].split(":");
  if (word === "local" && here && name !== here) {
    keep();
    location.reload();
  }
}
