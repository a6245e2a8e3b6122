/**
 * The page's words in the chosen language.
 *
 * A node that shows words says which: `data-say="draw.go"` for its text, and
 * `data-say-ATTRIBUTE="key"` for an attribute. Switching the language fills all of them in again.
 */
import { recall, remember } from "./memory.js";
import { ENGLISH } from "./words/en.js";
import { KOREAN } from "./words/ko.js";

export const TABLES = { en: ENGLISH, ko: KOREAN };
const ATTRIBUTES = ["alt", "aria-label", "placeholder", "title"];

let current = firstLanguage();

/** The remembered language, else the browser's first that the page has, else English. */
function firstLanguage() {
  const wanted = [recall("language"), ...navigator.languages.map((each) => each.slice(0, 2))];
  return wanted.find((each) => each in TABLES) ?? "en";
}

/** The code of the language that the page shows: a key of TABLES. */
export function language() {
  return current;
}

/**
 * The words of a key in the current language.
 * @param {string} key
 * @param {Record<string, string | number>} values for the {names} in the words
 */
export function say(key, values = {}) {
  const words = TABLES[current][key];
  if (words === undefined) throw new Error(`no words for ${key}`);
  return words.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/**
 * Show words in a node, now and after a switch of the language.
 * @param {HTMLElement} node
 * @param {string | null} key null empties the node
 * @param {Record<string, string | number>} values
 * @param {string | null} attribute instead of the text
 */
export function tell(node, key, values = {}, attribute = null) {
  const name = attribute === null ? "data-say" : `data-say-${attribute}`;
  if (key === null) {
    node.removeAttribute(name);
    node.textContent = "";
    return;
  }
  node.setAttribute(name, key);
  if (Object.keys(values).length) node.dataset.values = JSON.stringify(values);
  else delete node.dataset.values;
  fill(node, attribute);
}

/** Put the words in, as the node's data say. */
function fill(node, attribute) {
  const values = JSON.parse(node.dataset.values ?? "{}");
  if (attribute === null) node.textContent = say(node.dataset.say, values);
  else node.setAttribute(attribute, say(node.getAttribute(`data-say-${attribute}`), values));
}

/** Fill in the words of the whole page. */
export function translatePage() {
  document.documentElement.lang = current;
  for (const node of document.querySelectorAll("[data-say]")) fill(node, null);
  for (const attribute of ATTRIBUTES) {
    for (const node of document.querySelectorAll(`[data-say-${attribute}]`)) fill(node, attribute);
  }
}

/** Show the page in the next language, and remember it. */
export function switchLanguage() {
  const codes = Object.keys(TABLES);
  current = codes[(codes.indexOf(current) + 1) % codes.length];
  remember("language", current);
  translatePage();
}
