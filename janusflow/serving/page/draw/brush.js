/** Painting the part of an image that may change, by mouse, finger or keyboard. */
import { byId } from "../dom.js";
import { pngOf } from "../images.js";
import { tell } from "../language.js";

/** Side of the canvas that is painted on, in pixels; the mask gets the image's own size. */
const SIDE = 512;
const MAX_UNDO = 30;
/** How far an arrow key moves the brush, as a share of its width. */
const KEY_STEP = 0.5;
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const PAINT = "rgb(235 60 40)";

export class Brush {
  #dialog = byId("brush");
  #canvas = byId("brush-canvas");
  #context = byId("brush-canvas").getContext("2d", { willReadFrequently: true });
  #ring = byId("brush-ring");
  #undo = [];
  #at = [SIDE / 2, SIDE / 2];
  #isPainting = false;
  #image = null;
  #onDone;

  /**
   * @param {(painted: {image: Blob, mask: Blob, prompt: string}) => void} onDone called when the
   *   change is to be drawn
   */
  constructor(onDone) {
    this.#onDone = onDone;
    this.#canvas.width = this.#canvas.height = SIDE;
    this.#listen();
  }

  /**
   * Open the dialog.
   * @param {Blob} image a square one
   * @param {string} prompt to begin with
   */
  open(image, prompt) {
    this.#image = image;
    this.#context.clearRect(0, 0, SIDE, SIDE);
    this.#undo = [];
    this.#at = [SIDE / 2, SIDE / 2];
    const url = URL.createObjectURL(image);
    const shown = byId("brush-image");
    shown.onload = () => URL.revokeObjectURL(url);
    shown.src = url;
    byId("brush-prompt").value = prompt;
    tell(byId("brush-error"), null);
    this.#dialog.showModal();
    this.#canvas.focus();
    this.#moveRing();
  }

  #listen() {
    const canvas = this.#canvas;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#keepForUndo();
      this.#isPainting = true;
      this.#paintTo(this.#placeOf(event), true);
    });
    canvas.addEventListener("pointermove", (event) => {
      const place = this.#placeOf(event);
      if (this.#isPainting) this.#paintTo(place);
      else this.#at = place;
      this.#moveRing();
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => (this.#isPainting = false));
    }
    canvas.addEventListener("keydown", (event) => this.#onKey(event));
    byId("brush-size").addEventListener("input", () => this.#moveRing());
    byId("brush-undo").addEventListener("click", () => this.#goBack());
    byId("brush-clear").addEventListener("click", () => {
      this.#keepForUndo();
      this.#context.clearRect(0, 0, SIDE, SIDE);
    });
    byId("brush-close").addEventListener("click", () => this.#dialog.close());
    byId("brush-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#finish();
    });
  }

  get #width() {
    return Number(byId("brush-size").value);
  }

  #placeOf(event) {
    const box = this.#canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * SIDE,
      ((event.clientY - box.top) / box.height) * SIDE,
    ];
  }

  /** A stroke from where the brush is, or a dot where a stroke begins. */
  #paintTo(place, isNew = false) {
    const context = this.#context;
    const from = isNew ? place : this.#at;
    context.strokeStyle = PAINT;
    context.lineWidth = this.#width;
    context.lineCap = "round";
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(place[0] + 0.01, place[1]);
    context.stroke();
    this.#at = place;
    tell(byId("brush-error"), null);
  }

  #onKey(event) {
    const move = MOVES[event.key];
    if (move) {
      const within = (value) => Math.min(SIDE, Math.max(0, value));
      const to = this.#at.map((each, axis) => within(each + move[axis] * this.#width * KEY_STEP));
      if (event.shiftKey) this.#paintTo(to);
      this.#at = to;
    } else if (event.key === " ") {
      this.#keepForUndo();
      this.#paintTo(this.#at, true);
    } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
      this.#goBack();
    } else {
      return;
    }
    event.preventDefault();
    this.#moveRing();
  }

  #moveRing() {
    const share = (value) => `${(value / SIDE) * 100}%`;
    this.#ring.style.left = share(this.#at[0]);
    this.#ring.style.top = share(this.#at[1]);
    this.#ring.style.width = share(this.#width);
  }

  #keepForUndo() {
    this.#undo.push(this.#context.getImageData(0, 0, SIDE, SIDE));
    if (this.#undo.length > MAX_UNDO) this.#undo.shift();
  }

  #goBack() {
    const before = this.#undo.pop();
    if (before) this.#context.putImageData(before, 0, 0);
  }

  async #finish() {
    const mask = this.#mask();
    if (mask === null) {
      tell(byId("brush-error"), "brush.empty");
      return;
    }
    const painted = {
      image: this.#image,
      mask: await pngOf(mask),
      prompt: byId("brush-prompt").value.trim(),
    };
    this.#dialog.close();
    this.#onDone(painted);
  }

  /** A canvas of the image's size, transparent where it may change; null if nothing is painted. */
  #mask() {
    const { naturalWidth: width, naturalHeight: height } = byId("brush-image");
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    context.drawImage(this.#canvas, 0, 0, width, height);
    const pixels = context.getImageData(0, 0, width, height);
    let isEmpty = true;
    for (let i = 0; i < pixels.data.length; i += 4) {
      const isPainted = pixels.data[i + 3] > 127;
      if (isPainted) isEmpty = false;
      pixels.data.set([0, 0, 0, isPainted ? 0 : 255], i);
    }
    context.putImageData(pixels, 0, 0);
    return isEmpty ? null : canvas;
  }
}
