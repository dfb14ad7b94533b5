// The time zone of this page, and how it writes a time.

export const zone = known(document.documentElement.dataset.zone) ? document.documentElement.dataset.zone : "Etc/UTC";

const parts = new Intl.DateTimeFormat("en-GB", { timeZone: zone, day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

// 29 Nov 2026 15:41:09
export const moment = (ms) => parts.format(new Date(ms)).replace(",", "");

function known(name) {
  try {
    return Boolean(name && new Intl.DateTimeFormat("en", { timeZone: name }));
  } catch {
    return false;
  }
}
