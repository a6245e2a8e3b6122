/** The image that a drawing starts from, and the part of it that may change. */
import { byId } from "../dom.js";
import { tell } from "../language.js";

/** How much of the path is walked again, to begin with: the layout stays, the details do not. */
export const VARIATION_STRENGTH = 0.6;
/** A painted part is drawn freely. */
const MASKED_STRENGTH = 1;

export class StartImage {
  /** @type {Blob | null} */
  image = null;
  /** @type {Blob | null} transparent where it may change, as the server takes it */
  mask = null;
  #url = "";

  /**
   * Start from this image, or from none.
   * @param {Blob | null} image
   * @param {Blob | null} mask
   */
  set(image, mask = null) {
    this.image = image;
    this.mask = image && mask;
    URL.revokeObjectURL(this.#url);
    byId("start-card").hidden = image === null;
    byId("start-add").hidden = image !== null;
    if (image === null) return;
    this.#url = URL.createObjectURL(image);
    byId("start-image").src = this.#url;
    tell(byId("start-title"), mask ? "start.masked" : "start.title");
    const strength = byId("strength");
    strength.value = mask ? MASKED_STRENGTH : VARIATION_STRENGTH;
    strength.dispatchEvent(new Event("input"));
  }

  /** For the history: the image and mask, or null without one. */
  get kept() {
    return this.image && { image: this.image, mask: this.mask };
  }
}
