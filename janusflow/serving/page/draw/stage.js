/** The images of the current drawing, as they form. */
import { button, byId, element } from "../dom.js";
import { urlOf } from "./history.js";
import { showDecoded } from "../images.js";
import { tell } from "../language.js";

export class Stage {
  /** @type {Frame[]} */
  #frames = [];
  #begun = 0;
  #actions;

  /** @param {{open: (entry: object) => void, ask: (entry: object) => void}} actions of a frame */
  constructor(actions) {
    this.#actions = actions;
  }

  /**
   * Make room for new images.
   * @param {number} count
   * @param {string} prompt what the images are to show, for those who do not see them
   */
  begin(count, prompt) {
    this.#begun = performance.now();
    this.#frames = Array.from({ length: count }, () => new Frame(prompt));
    byId("stage-empty").hidden = true;
    const frames = byId("frames");
    frames.replaceChildren(...this.#frames.map((frame) => frame.node));
    frames.dataset.count = String(count);
    byId("stage-line").hidden = false;
    frames.scrollIntoView({ block: "nearest" });
    this.#showProgress();
    tell(byId("stage-step"), "stage.waiting");
    this.#say(count === 1 ? "stage.drawing.one" : "stage.drawing.many", { count });
  }

  /** Show where an image is on its way. @param {import("./requests.js").Drawn} drawn */
  preview(drawn) {
    this.#frames[drawn.index].preview(drawn);
    this.#showProgress();
    const { step, steps } = drawn;
    tell(byId("stage-step"), steps ? "stage.step" : "stage.step.open", { step, steps });
  }

  /** Show what is drawn instead of the prompt. */
  plan(index, plan) {
    this.#frames[index].plan(plan);
  }

  /** Show a finished image; its entry can be opened. */
  done(index, entry) {
    this.#frames[index].done(entry, this.#actions);
    this.#showProgress();
  }

  /** Whether all images are finished. */
  get isDone() {
    return this.#frames.every((frame) => frame.isDone);
  }

  /**
   * Nothing more will come.
   * @param {string | null} key of words that say why, if it ended early
   */
  end(key = null) {
    byId("stage-line").hidden = true;
    for (const frame of this.#frames) if (!frame.isDone) frame.stop();
    this.#frames = this.#frames.filter((frame) => frame.node.isConnected);
    byId("frames").dataset.count = String(this.#frames.length);
    byId("stage-empty").hidden = this.#frames.length > 0;
    const count = this.#frames.length;
    const seconds = ((performance.now() - this.#begun) / 1000).toFixed(1);
    this.#say(key ?? (count === 1 ? "stage.done.one" : "stage.done.many"), { count, seconds });
  }

  /** The line that is read aloud; empty for errors, which are told elsewhere. */
  #say(key, values) {
    tell(byId("stage-status"), key || null, values);
  }

  #showProgress() {
    const progress = byId("stage-progress");
    const shares = this.#frames.map((frame) => frame.share);
    // A solver that chooses its steps does not know how many are left.
    if (shares.some(Number.isNaN)) progress.removeAttribute("value");
    else progress.value = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  }
}

/** One image: its preview, then itself, in the same node. */
class Frame {
  /** How much of it is done, from 0 to 1; NaN where nobody knows. */
  share = 0;
  isDone = false;
  #url = "";
  #image;
  #picture;
  #caption = element("figcaption");

  constructor(prompt) {
    this.#image = element("img", { alt: prompt, hidden: true });
    this.#picture = element(
      "button", { type: "button", class: "picture", disabled: true }, this.#image,
    );
    this.node = element("figure", { class: "frame forming" }, this.#picture, this.#caption);
  }

  /** @param {import("./requests.js").Drawn} drawn */
  preview({ image, step, steps }) {
    this.share = steps ? step / steps : NaN;
    this.#show(URL.createObjectURL(image), true);
  }

  plan(plan) {
    this.#caption.replaceChildren(
      element("p", { class: "plan", say: "stage.planned", values: { plan } }),
    );
  }

  done(entry, { open, ask }) {
    this.share = 1;
    this.isDone = true;
    this.node.classList.remove("forming");
    this.#show(urlOf(entry), false);
    this.#picture.disabled = false;
    this.#picture.onclick = () => open(entry);
    tell(this.#picture, "stage.open", { seed: entry.settings.seed }, "aria-label");
    if (entry.settings.plan) this.plan(entry.settings.plan);
    this.#caption.append(button("viewer.ask", () => ask(entry), "small"));
  }

  /** It will not be finished: its last preview stays, if there is one. */
  stop() {
    this.node.classList.remove("forming");
    this.node.classList.add("stopped");
    if (this.#image.hidden) this.node.remove();
    else this.#caption.replaceChildren(element("p", { say: "stage.stopped" }));
  }

  /** The next image in the same node. URLs of previews are let go once another one is shown. */
  async #show(url, isPreview) {
    const before = this.#url;
    this.#url = isPreview ? url : "";
    await showDecoded(this.#image, url);
    this.#image.hidden = false;
    if (before) URL.revokeObjectURL(before);
  }
}
