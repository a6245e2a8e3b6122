/** The images that the next question is about, until it is asked. */
import { byId, element, iconButton } from "../dom.js";
import { onImages, readImage } from "../images.js";
import { explain } from "../server/server.js";
import { tell } from "../language.js";

export class Attachments {
  /** @type {{image: Blob, node: HTMLElement}[]} */
  #attached = [];
  #list = byId("attachments");

  /** Let images be chosen, dropped and pasted. */
  constructor() {
    byId("see-file").addEventListener("change", ({ target }) => {
      this.addAll([...target.files]);
      target.value = "";
    });
    onImages(byId("panel-see"), (images) => this.addAll(images));
  }

  /**
   * Attach images; one that cannot be read is told, the others are kept.
   * @param {(File | Blob)[]} files
   */
  async addAll(files) {
    tell(byId("see-error"), null);
    for (const file of files) {
      try {
        this.#add(await readImage(file));
      } catch (error) {
        tell(byId("see-error"), ...explain(error));
      }
    }
  }

  /**
   * Hand the images over, to be asked about.
   * @returns {Blob[]}
   */
  take() {
    const images = this.#attached.map(({ image }) => image);
    for (const { node } of this.#attached.splice(0)) this.#drop(node);
    return images;
  }

  #add(image) {
    const shown = element("img", { src: URL.createObjectURL(image), alt: "" });
    const attached = { image, node: element("li", {}, shown) };
    const number = this.#attached.length + 1;
    const remove = iconButton("close", "see.remove", () => this.#remove(attached), { number });
    attached.node.append(remove);
    this.#attached.push(attached);
    this.#list.append(attached.node);
    this.#list.hidden = false;
  }

  #remove(attached) {
    this.#attached = this.#attached.filter((each) => each !== attached);
    this.#drop(attached.node);
    byId("question").focus();
  }

  #drop(node) {
    URL.revokeObjectURL(node.querySelector("img").src);
    node.remove();
    this.#list.hidden = this.#attached.length === 0;
  }
}
