/** Finding and making nodes. */
import { tell } from "./language.js";

const SVG = "http://www.w3.org/2000/svg";

/**
 * The node with this id, which must be there.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const node = document.getElementById(id);
  if (node === null) throw new Error(`no node with id ${id}`);
  return node;
}

/**
 * A new node.
 * @param {string} tag
 * @param {Record<string, unknown>} properties `class`; `say`, `label`: keys of words for the text
 *   and the aria-label, `values` for them; `onclick` and so on; other properties of the node, or
 *   attributes
 * @param {...(Node | string)} children
 */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  const { say, label, values = {}, ...rest } = properties;
  for (const [name, value] of Object.entries(rest)) {
    if (name === "class") node.className = value;
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  if (say) tell(node, say, values);
  if (label) tell(node, label, values, "aria-label");
  node.append(...children);
  return node;
}

/**
 * A button that shows words.
 * @param {string} key of the words
 * @param {() => void} onclick
 * @param {string} kind class of its look
 */
export function button(key, onclick, kind = "quiet") {
  return element("button", { type: "button", class: kind, say: key, onclick });
}

/**
 * A button that shows a drawing of icons.svg; the words are its name.
 * @param {string} name of the drawing
 * @param {string} key of the words
 * @param {() => void} onclick
 */
export function iconButton(name, key, onclick, values = {}) {
  const made = element("button", { type: "button", class: "icon", label: key, values, onclick });
  made.append(icon(name));
  return made;
}

/** A drawing of icons.svg. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", new URL(`icons.svg#${name}`, import.meta.url).href);
  svg.append(use);
  return svg;
}

/**
 * Run this when Ctrl or Cmd and Enter are pressed in the node.
 * @param {HTMLElement} node
 * @param {() => void} run
 */
export function onSubmitKeys(node, run) {
  node.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      run();
    }
  });
}
