/** Places of the picture: the words that they attend to, and how well REPA guesses them. */
import { byId, element } from "../dom.js";
import { tell } from "../language.js";
import { addressOf } from "./pictures.js";

const MOVES = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
/** How many words, or places, are named. */
const NAMED = 3;
const PERCENT = 100;

/**
 * Words and places that light up each other.
 * @param {object} told the server's answer
 * @returns {(step: number) => void} shows a step
 */
export function showAttention(told) {
  const { grid, words } = told;
  let attention = told.steps[0].attention.words;
  let chosen = { word: sharpest(told) };
  const places = Array.from({ length: grid * grid }, (_, place) => {
    const values = { row: Math.floor(place / grid) + 1, column: (place % grid) + 1 };
    return element("button", { type: "button", class: "place", label: "explain.place", values });
  });
  const chips = words.map((word) => {
    return element("button", { type: "button", class: "word" }, element("span", {}, word));
  });

  /** Show what goes with a word or a place. */
  function light(target) {
    const isWord = "word" in target;
    const toPlaces = isWord ? attention.map((row) => row[target.word]) : null;
    const toWords = isWord ? null : attention[target.place];
    dim(places, toPlaces, 0);
    places.forEach((node, place) => node.classList.toggle("lit", place === target.place));
    const most = toWords && Math.max(...toWords, Number.EPSILON);
    chips.forEach((node, word) => {
      const share = isWord ? Number(word === target.word) : toWords[word] / most;
      node.style.setProperty("--share", share.toFixed(3));
      node.setAttribute("aria-pressed", String(word === chosen.word));
    });
    places.forEach((node, place) => {
      node.setAttribute("aria-pressed", String(place === chosen.place));
    });
    if (isWord) tell(byId("explain-attends"), "explain.attends.word", { word: words[target.word] });
    else tell(byId("explain-attends"), "explain.attends.place", { words: named(toWords) });
  }

  function named(shares) {
    const order = shares.map((_, word) => word).sort((a, b) => shares[b] - shares[a]);
    const percent = (word) => `${words[word]} ${Math.round(shares[word] * PERCENT)}%`;
    return order.slice(0, NAMED).map(percent).join(", ");
  }

  function offer(node, target) {
    node.addEventListener("pointerenter", () => light(target));
    node.addEventListener("pointerleave", () => light(chosen));
    node.addEventListener("focus", () => light(target));
    node.addEventListener("blur", () => light(chosen));
    node.addEventListener("click", () => light((chosen = target)));
  }

  chips.forEach((node, word) => offer(node, { word }));
  places.forEach((node, place) => {
    offer(node, { place });
    node.tabIndex = place === 0 ? 0 : -1;
  });
  byId("explain-words").replaceChildren(...chips);
  byId("explain-places").replaceChildren(...places);
  byId("explain-places").style.setProperty("--grid", String(grid));
  byId("explain-places").onkeydown = (event) => move(event, places, grid);
  byId("explain-attention-image").src = addressOf(told, told.b64_json);
  byId("explain-attention").hidden = words.length === 0;
  return (step) => {
    attention = told.steps[Math.min(step, told.steps.length - 1)].attention.words;
    if (words.length) light(chosen);
  };
}

/** The word that a single place reads most in the end: there is something to see. */
function sharpest({ steps, words }) {
  const { words: attention } = steps.at(-1).attention;
  const peaks = words.map((_, word) => Math.max(...attention.map((row) => row[word])));
  return peaks.indexOf(Math.max(...peaks));
}

/** Arrow keys go from place to place; the tab key enters and leaves all of them. */
function move(event, places, grid) {
  if (!(event.key in MOVES)) return;
  event.preventDefault();
  const here = places.indexOf(document.activeElement);
  const [down, right] = MOVES[event.key];
  const row = Math.min(grid - 1, Math.max(0, Math.floor(here / grid) + down));
  const column = Math.min(grid - 1, Math.max(0, (here % grid) + right));
  const next = places[row * grid + column];
  places[here].tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

/**
 * How well REPA guesses what the model's eye finds in the finished picture.
 * @param {object} told the server's answer
 * @returns {(step: number) => void} shows a step
 */
export function showAlignment(told) {
  const isThere = told.steps[0].alignment !== null;
  byId("explain-alignment").hidden = !isThere;
  if (!isThere) return () => {};
  const all = told.steps.flatMap((step) => step.alignment);
  const least = Math.min(...all);
  const most = Math.max(...all);
  const places = Array.from({ length: told.grid ** 2 }, () => element("span", { class: "place" }));
  byId("explain-alignment-places").replaceChildren(...places);
  byId("explain-alignment-places").style.setProperty("--grid", String(told.grid));
  byId("explain-alignment-image").src = addressOf(told, told.b64_json);
  return (step) => {
    const { alignment } = told.steps[Math.min(step, told.steps.length - 1)];
    dim(places, alignment, least, most);
    const mean = alignment.reduce((sum, each) => sum + each, 0) / alignment.length;
    tell(byId("explain-alignment-line"), "explain.alignment.line", { agreement: mean.toFixed(2) });
  };
}

/** Darken places, the more the further they are below the most; null darkens none. */
function dim(places, values, least, most = Math.max(...(values ?? []), Number.EPSILON)) {
  places.forEach((node, place) => {
    const share = values ? (values[place] - least) / (most - least || 1) : 1;
    node.style.setProperty("--share", share.toFixed(3));
  });
}
