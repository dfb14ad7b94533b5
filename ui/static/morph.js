// Turn one piece of page into another with as few changes as possible: nodes, focus, selection and open
// details stay. Elements with data-keep belong to scripts and are left alone.

// `pinned`: rows keep their places; returns how many changes of place wait.
export function morph(from, to, pinned = () => false) {
  if (from.isEqualNode(to)) return 0;
  if (from.hasAttribute("data-keep")) return 0;
  attributes(from, to);
  if (from.localName === "tbody" && keyed(from) && keyed(to)) return rows(from, to, pinned);
  return children(from, to, pinned);
}

function children(from, to, pinned) {
  let waiting = 0;
  let old = from.firstChild;
  for (const fresh of [...to.childNodes]) {
    if (old && alike(old, fresh)) {
      if (old.nodeType === Node.ELEMENT_NODE) waiting += morph(old, fresh, pinned);
      else if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      old = old.nextSibling;
    } else if (old) {
      const next = old.nextSibling;
      from.replaceChild(fresh, old);
      old = next;
    } else {
      from.append(fresh);
    }
  }
  while (old) {
    const next = old.nextSibling;
    old.remove();
    old = next;
  }
  return waiting;
}

function rows(from, to, pinned) {
  const old = new Map([...from.children].map((row) => [row.dataset.key, row]));
  const fresh = [...to.children];
  if (pinned(from)) {
    let waiting = 0;
    const keys = fresh.map((row) => row.dataset.key);
    for (const row of fresh) {
      const mine = old.get(row.dataset.key);
      if (mine) morph(mine, row, pinned);
      else waiting += 1;
    }
    for (const [key, row] of old) {
      const gone = !keys.includes(key);
      row.classList.toggle("gone", gone);
      if (gone) waiting += 1;
    }
    const [places, wanted] = [[...old.keys()], keys].map((list) => list.filter((key) => old.has(key) && keys.includes(key)));
    return waiting + places.filter((key, index) => key !== wanted[index]).length;
  }
  let place = from.firstElementChild;
  for (const row of fresh) {
    const mine = old.get(row.dataset.key);
    if (mine) {
      morph(mine, row, pinned);
      old.delete(row.dataset.key);
      if (mine === place) place = place.nextElementSibling;
      else from.insertBefore(mine, place);
    } else {
      from.insertBefore(row, place);
      flash(row, "new");
    }
  }
  for (const row of old.values()) row.remove();
  return 0;
}

function attributes(from, to) {
  const value = from.getAttribute("value");
  for (const { name, value } of [...to.attributes]) {
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && name !== "open") from.removeAttribute(name);
  }
  if (from.localName === "data" && value !== to.getAttribute("value")) {
    flash(from, Number(to.getAttribute("value")) > Number(value) ? "up" : "down");
  }
}

function flash(element, name) {
  element.classList.add(`flash-${name}`);
  element.addEventListener("animationend", () => element.classList.remove(`flash-${name}`), { once: true });
}

function keyed(body) {
  return [...body.children].every((row) => row.dataset.key);
}

function alike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && one.id === other.id;
}
