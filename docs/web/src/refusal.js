// What goes wrong for a reason that a person can be told; words.js has the sentences.

export class Refusal extends Error {
  /** @param {string} kind a key of `errors` in words.js; @param {string} detail for the sentence */
  constructor(kind, detail = "") {
    super(`${kind} ${detail}`);
    this.kind = kind;
    this.detail = String(detail);
  }
}
