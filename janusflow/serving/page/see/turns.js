/** The turns of a conversation as the page shows them. */
import { button, byId, element } from "../dom.js";
import { tell } from "../language.js";

/** Pixels from the end of the page within which it follows an answer that grows. */
const NEAR_END = 150;

/**
 * Show what the user asked.
 * @param {string} text
 * @param {Blob[]} images
 * @param {(image: Blob) => void} draw draws from one of the images
 * @returns {HTMLElement}
 */
export function showQuestion(text, images, draw) {
  const row = element("div", { class: "turn-images" });
  for (const image of images) {
    const shown = element("img", { src: URL.createObjectURL(image), alt: "" });
    row.append(element("figure", {}, shown, button("see.draw", () => draw(image), "small")));
  }
  const turn = element("li", { class: "turn user" }, element("span", { class: "who", say: "see.you" }));
  if (images.length) turn.append(row);
  turn.append(element("p", {}, text));
  return show(turn);
}

/** The model's turn, which grows. */
export class AnswerTurn {
  text = "";
  #words = element("p", { say: "see.thinking", class: "quietly" });
  #note = element("p", { class: "note" });

  constructor() {
    const who = element("span", { class: "who", say: "see.model" });
    this.node = element("li", { class: "turn model", "aria-busy": "true" }, who, this.#words, this.#note);
    show(this.node);
  }

  /** @param {string} piece more of the text */
  add(piece) {
    if (!piece) return;
    if (this.text === "") {
      tell(this.#words, null);
      this.#words.classList.remove("quietly");
    }
    const page = document.documentElement;
    const isAtEnd = page.scrollTop + page.clientHeight > page.scrollHeight - NEAR_END;
    this.text += piece;
    this.#words.textContent = this.text.trimStart();
    // Who has scrolled back to read is left there.
    if (isAtEnd) this.node.scrollIntoView({ block: "end" });
  }

  /**
   * Nothing more will come.
   * @param {[string, object] | null} note words below the text
   * @param {(() => void) | null} retry offered where it failed
   */
  end(note = null, retry = null) {
    this.node.setAttribute("aria-busy", "false");
    if (this.text === "") this.#words.remove();
    if (note) tell(this.#note, ...note);
    if (retry) {
      this.#note.classList.add("error");
      this.node.append(button("see.retry", retry, "small"));
    }
  }
}

/** Remove all turns. */
export function clearTurns() {
  for (const image of byId("turns").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  byId("turns").replaceChildren();
}

function show(turn) {
  byId("turns").append(turn);
  turn.scrollIntoView({ block: "end" });
  return turn;
}
