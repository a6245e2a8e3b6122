/** The drawings of this browser as small images; arrow keys go from one to the next. */
import { byId, element } from "../dom.js";
import { urlOf } from "./history.js";
import { say } from "../language.js";

/**
 * Show the history, now and after every change.
 * @param {import("./history.js").History} history
 * @param {(entry: object) => void} open
 */
export function startGallery(history, open) {
  const list = byId("thumbs");
  const nodes = new Map();
  history.onChange = () => {
    const { entries } = history;
    for (const [entry, node] of nodes) {
      if (entries.includes(entry)) continue;
      node.remove();
      nodes.delete(entry);
    }
    // Those that stay are not moved, so that none loses its focus.
    for (const entry of entries.toReversed()) {
      if (nodes.has(entry)) continue;
      nodes.set(entry, thumb(entry, open));
      list.prepend(nodes.get(entry));
    }
    list.hidden = entries.length === 0;
    byId("gallery-empty").hidden = entries.length > 0;
    byId("gallery-clear").hidden = entries.length === 0;
    makeReachable(list, list.querySelector("button"));
  };
  list.addEventListener("keydown", (event) => moveFocus(event, list));
  list.addEventListener("focusin", (event) => makeReachable(list, event.target));
  byId("gallery-clear").addEventListener("click", () => {
    const count = history.entries.length;
    if (window.confirm(say("gallery.clear.sure", { count }))) history.clear();
  });
}

function thumb(entry, open) {
  const { prompt, seed } = entry.settings;
  const node = element(
    "button",
    {
      type: "button", class: "thumb", title: prompt, onclick: () => open(entry),
      label: "gallery.open", values: { prompt, seed: seed ?? "" },
    },
    element("img", { src: urlOf(entry), alt: "", loading: "lazy" }),
  );
  return element("li", {}, node);
}

/** The tab key stops at one of the images only: arrow keys lead to the others. */
function makeReachable(list, reachable) {
  for (const each of list.querySelectorAll("button")) each.tabIndex = each === reachable ? 0 : -1;
}

function moveFocus(event, list) {
  const buttons = [...list.querySelectorAll("button")];
  const here = buttons.indexOf(document.activeElement);
  const perRow = buttons.filter((each) => each.offsetTop === buttons[0].offsetTop).length;
  const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: perRow, ArrowUp: -perRow };
  const to = { Home: 0, End: buttons.length - 1 }[event.key] ?? here + (moves[event.key] ?? NaN);
  if (here < 0 || !buttons[to]) return;
  event.preventDefault();
  buttons[to].focus();
}
