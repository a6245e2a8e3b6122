// Texts to token ids and back, in the model's templates.

import { Tokenizer } from "../runtime/tokenizers.min.mjs";
import { Refusal } from "./refusal.js";

const SPACE = String.raw`[\p{White_Space}\x1c-\x1f]+`;
const ENDS = new RegExp(`^${SPACE}|${SPACE}$`, "gu");

/** Without white space at both ends, as Python's strip has it: trim() takes U+FEFF for some. */
export const strip = (text) => text.replace(ENDS, "");

export class Texts {
  /** @param {object} tokenizer content of tokenizer.json; @param {object} manifest */
  constructor(tokenizer, manifest) {
    this.tokenizer = new Tokenizer(tokenizer, { clean_up_tokenization_spaces: false });
    this.special = tokenizer.added_tokens.filter((token) => token.special);
    this.manifest = manifest;
  }

  /** Token ids of a prompt for drawing, its begin token included. */
  prompt(text) {
    this.#refuseTags(text);
    const stripped = strip(text);
    const { prompt, user, assistant } = this.manifest.templates;
    return this.#ids(stripped ? prompt.replace("{prompt}", () => stripped) : `${user}:${assistant}:`);
  }

  /** The question whose answer is a plan: a prompt that says where everything is. */
  planningPrompt(text) {
    this.#refuseTags(text);
    return this.prompt(this.manifest.templates.plan.replace("{prompt}", () => text));
  }

  /** Token ids of one question about so many images, up to where the answer begins. */
  question(text, numImages) {
    this.#refuseTags(text);
    const { templates, understanding, tokens } = this.manifest;
    const { system_prompt: system, user, assistant, image } = templates;
    const asked = strip([...Array(numImages).fill(image), text].join("\n"));
    const begin = strip(system) ? `${system.trimStart()}\n\n` : "";
    const ids = this.#ids(`${begin}${user}: ${asked}\n\n${assistant}:`);
    const span = Array(understanding.num_tokens).fill(tokens.image);
    return ids.flatMap((id) =>
      id === tokens.image ? [tokens.image_start, ...span, tokens.image_end] : [id],
    );
  }

  decode(ids) {
    return ids.length ? this.tokenizer.decode(ids, { skip_special_tokens: true }) : "";
  }

  #ids(text) {
    return this.tokenizer.encode(text, { add_special_tokens: true }).ids;
  }

  #refuseTags(text) {
    const tag = this.special.find((token) => text.includes(token.content));
    if (tag) throw new Refusal("tag", tag.content);
  }
}
