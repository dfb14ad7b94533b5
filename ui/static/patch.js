// Turns one piece of a page into another with as few changes as possible: nodes, focus, selection and open details
// stay. idiomorph does this, except for rows, which are matched by their data-key. A row with data-same has not
// changed and comes without its cells. Elements with data-keep belong to scripts and are left alone.

const LEFT = ["open", "tabindex"]; // set in the page: the user opened it; scripts choose the row that Tab reaches

// Where `pinned`, rows keep their places. Returns how many moves wait, and whether a row was missing that should
// have been here.
export function patch(from, to, pinned = () => false) {
  const found = { waiting: 0, lacking: false };
  const config = {
    callbacks: {
      beforeNodeMorphed(old, fresh) {
        if (old.nodeType !== Node.ELEMENT_NODE) return true;
        if (lacks(fresh)) return false;
        if (old.hasAttribute("data-keep") || old.isEqualNode(fresh)) return false;
        if (old.localName === "data") change(old, fresh);
        if (old.localName !== "tbody" || !keyed(old) || !keyed(fresh)) return true;
        rows(old, fresh);
        return false;
      },
      beforeNodeAdded: (fresh) => !lacks(fresh),
      beforeAttributeUpdated: (name, _old, what) => !(what === "remove" && LEFT.includes(name)),
    },
  };

  // A row that is claimed to be here unchanged, but is not here.
  function lacks(fresh) {
    const same = fresh.nodeType === Node.ELEMENT_NODE && fresh.hasAttribute("data-same");
    found.lacking ||= same;
    return same;
  }

  function morph(old, fresh) {
    if (!fresh.hasAttribute("data-same") && !old.isEqualNode(fresh)) Idiomorph.morph(old, fresh, config);
  }

  function rows(body, fresh) {
    const old = new Map([...body.children].map((row) => [row.dataset.key, row]));
    const wanted = [...fresh.children];
    found.lacking ||= wanted.some((row) => row.hasAttribute("data-same") && !old.has(row.dataset.key));
    if (pinned(body)) {
      found.waiting += held(old, wanted);
      return;
    }
    let place = body.firstElementChild;
    for (const row of wanted) {
      const mine = old.get(row.dataset.key);
      if (mine) {
        morph(mine, row);
        mine.classList.remove("gone");
        old.delete(row.dataset.key);
        if (mine === place) place = place.nextElementSibling;
        else body.insertBefore(mine, place);
      } else if (!row.hasAttribute("data-same")) {
        body.insertBefore(row, place);
        flash(row, "new");
      }
    }
    for (const row of old.values()) row.remove();
  }

  // For rows under the pointer or the focus: they change in place; additions, removals and moves come later.
  function held(old, wanted) {
    let waiting = 0;
    const keys = wanted.map((row) => row.dataset.key);
    for (const row of wanted) {
      const mine = old.get(row.dataset.key);
      if (mine) morph(mine, row);
      else waiting += 1;
    }
    for (const [key, row] of old) {
      const gone = !keys.includes(key);
      row.classList.toggle("gone", gone);
      if (gone) waiting += 1;
    }
    const [places, order] = [[...old.keys()], keys].map((list) => list.filter((key) => old.has(key) && keys.includes(key)));
    return waiting + places.filter((key, index) => key !== order[index]).length;
  }

  morph(from, to);
  return found;
}

function change(old, fresh) {
  const [before, after] = [old, fresh].map((data) => data.getAttribute("value"));
  if (before !== after) flash(old, Number(after) > Number(before) ? "up" : "down");
}

function flash(element, name) {
  element.classList.add(`flash-${name}`);
  element.addEventListener("animationend", () => element.classList.remove(`flash-${name}`), { once: true });
}

function keyed(body) {
  return [...body.children].every((row) => row.dataset.key);
}
