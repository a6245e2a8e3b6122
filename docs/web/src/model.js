// JanusFlow on onnxruntime-web: plan, draw, answer. `ort` is the runtime's module.

import { chooseToken } from "./choose.js";
import { guided, pointOnPath, solve, timeGrid } from "./flow.js";
import { fitSquare, pixelValues, toImage } from "./images.js";
import { Generator } from "./random.js";
import { Refusal } from "./refusal.js";
import { strip, Texts } from "./texts.js";

const FORMAT = 1;
const GREEDY = { temperature: 0, top_p: 1 };

export class JanusFlow {
  /**
   * Make sessions of all graphs.
   * @param {object} ort onnxruntime-web
   * @param {(name: string) => Promise<Uint8Array>} read a file of the exported folder
   * @param {string} device "wasm" or "webgpu"
   */
  static async load(ort, read, device) {
    const json = async (name) => JSON.parse(new TextDecoder().decode(await read(name)));
    const manifest = await json("manifest.json");
    if (manifest.format !== FORMAT) throw new Refusal("format", manifest.format);
    const weights = { path: manifest.weights, data: await read(manifest.weights) };
    const texts = new Texts(await json("tokenizer.json"), manifest);
    const sessions = {};
    for (const name of Object.keys(manifest.graphs)) {
      sessions[name] = await ort.InferenceSession.create(await read(`${name}.onnx`), {
        executionProviders: device === "webgpu" ? ["webgpu", "wasm"] : ["wasm"],
        externalData: [weights],
      });
    }
    return new JanusFlow(ort, manifest, texts, sessions);
  }

  constructor(ort, manifest, texts, sessions) {
    Object.assign(this, { ort, manifest, texts, sessions });
  }

  // ---- drawing --------------------------------------------------------------------------------

  /**
   * Draw one image.
   * @param {object} wish prompt, negativePrompt, seed, steps, guidance, solver, plans (whether the
   *   model plans first), image and strength (to start from an image of the model's size)
   * @param {{onPlan?: Function, onStep?: Function, pause?: Function}} hooks `pause` is awaited
   *   between evaluations and may throw to stop
   * @returns {Promise<{image: object, plan: string | null}>}
   */
  async generate(wish, { onPlan = () => {}, onStep = () => {}, pause = async () => {} } = {}) {
    const { drawing, generation } = this.manifest;
    const { prompt, seed, negativePrompt, image, strength = 1 } = wish;
    const { steps, guidance, solver } = { ...drawing, ...wish };
    const texts = negativePrompt ? [prompt, negativePrompt] : [prompt];
    const asked = texts.map((text) => this.texts.prompt(text));
    for (const ids of asked) this.#requireContext(ids.length + 1 + generation.num_tokens);
    let plan = null;
    if (this.manifest.templates.plan !== null && (wish.plans ?? !image)) {
      plan = await this.plan(prompt, seed, pause);
      onPlan(plan);
    }
    const rows = [this.texts.prompt(plan ?? prompt)];
    this.#requireContext(rows[0].length + 1 + generation.num_tokens);
    const isGuided = guidance !== 1;
    if (isGuided && negativePrompt) rows.push(asked[1]);
    const prefix = await this.#encodePrompts(rows, isGuided && !negativePrompt);

    const noise = new Generator(seed).normal(product(this.#latentShape(1)));
    const start = image ? 1 - strength : 0;
    const from = image ? pointOnPath(noise, await this.#encodeImage(image), start) : noise;
    const velocity = async (x, t) => {
      await pause();
      const both = await this.#velocity(x, t, prefix);
      if (!isGuided) return both;
      return guided(both.subarray(0, x.length), both.subarray(x.length), guidance);
    };
    const how = { times: timeGrid(steps, { start }), tableau: generation.solvers[solver] };
    const latent = await solve(from, velocity, how, async ({ index, predicted }) => {
      const isLast = index === how.times.length - 2;
      const preview = isLast ? null : await this.#decode(predicted);
      onStep({ index, steps: how.times.length - 1, preview });
    });
    return { image: await this.#decode(latent), plan };
  }

  /** Where everything is, in words: what is drawn instead of the prompt. */
  async plan(prompt, seed, pause = async () => {}) {
    const { max_new_tokens: most, ...settings } = this.manifest.planning;
    const ids = this.texts.planningPrompt(prompt);
    const tokens = this.#answer(ids, null, { most, settings, seed });
    const written = [];
    for await (const token of tokens) {
      written.push(token);
      await pause();
    }
    return strip(this.texts.decode(written)) || prompt;
  }

  // ---- answering ------------------------------------------------------------------------------

  /** Answer a question about an image or none; `onPiece` is told the text so far. */
  async ask(image, question, { most = 512, onPiece = () => {}, pause = async () => {} } = {}) {
    const ids = this.texts.question(question, image ? 1 : 0);
    const written = [];
    for await (const token of this.#answer(ids, image, { most, settings: GREEDY, seed: 0 })) {
      written.push(token);
      onPiece(strip(this.texts.decode(written)));
      await pause();
    }
    return strip(this.texts.decode(written));
  }

  /** Tokens of an answer, until the model ends it. */
  async *#answer(ids, image, { most, settings, seed }) {
    const room = this.#requireContext(ids.length + 1) + 1;
    const generator = new Generator(seed);
    const features = await this.#features(image);
    let [cache, length] = [this.#emptyCache(1), 0];
    let next = ids;
    for (let written = 0; written < Math.min(most, room); written++) {
      const rows = [{ ids: next, first: length, mask: Array(length + next.length).fill(1) }];
      const output = await this.#decoder(rows, written ? this.#noFeatures() : features, cache);
      length += next.length;
      cache = output.longer_cache;
      const token = chooseToken(output.logits.data, settings, generator);
      if (this.manifest.tokens.eos.includes(token)) return;
      yield token;
      next = [token];
    }
  }

  // ---- graphs ---------------------------------------------------------------------------------

  /** Read prompts once: their cache, and what a velocity is told of it. */
  async #encodePrompts(rows, isFree) {
    const length = Math.max(...rows.map((ids) => ids.length));
    const padded = rows.map((ids) => {
      const padding = Array(length - ids.length);
      return {
        ids: [...padding.fill(this.manifest.tokens.pad), ...ids],
        first: ids.length - length,
        mask: [...padding.fill(0), ...Array(ids.length).fill(1)],
      };
    });
    // Without a negative prompt the free row reads the begin token only, at the same positions.
    if (isFree) padded.push({ ...padded[0], mask: padded[0].mask.map((_, i) => (i ? 0 : 1)) });
    const cache = this.#emptyCache(padded.length);
    const { longer_cache } = await this.#decoder(padded, this.#noFeatures(), cache);
    return {
      cache: longer_cache,
      attention_mask: this.#integers(padded.flatMap((row) => row.mask), [padded.length, length]),
      next_position: this.#integers(padded.map((row) => row.first + length), [padded.length]),
    };
  }

  /** Rows have ids, the position of the first of them, and a mask of all that was read. */
  async #decoder(rows, features, cache) {
    const shape = [rows.length, rows[0].ids.length];
    const positions = rows.flatMap(({ ids, first }) => ids.map((_, i) => Math.max(0, first + i)));
    return this.sessions.decoder.run({
      token_ids: this.#integers(rows.flatMap((row) => row.ids), shape),
      attention_mask: this.#integers(rows.flatMap((row) => row.mask), [
        rows.length,
        rows[0].mask.length,
      ]),
      position_ids: this.#integers(positions, shape),
      image_features: features,
      cache,
    });
  }

  async #velocity(x, t, prefix) {
    const [rows] = prefix.next_position.dims;
    const states = new Float32Array(rows * x.length);
    for (let row = 0; row < rows; row++) states.set(x, row * x.length);
    const output = await this.sessions.velocity.run({
      x_t: this.#floats(states, this.#latentShape(rows)),
      t: this.#floats(new Float32Array(rows).fill(t), [rows]),
      ...prefix,
    });
    return output.velocity.data;
  }

  async #features(image) {
    if (!image) return this.#noFeatures();
    const how = this.manifest.understanding;
    const values = pixelValues(fitSquare(image, how), how);
    const pixels = this.#floats(values, [1, 3, how.image_size, how.image_size]);
    const output = await this.sessions.tower.run({ pixel_values: pixels });
    return output.image_features;
  }

  async #decode(latent) {
    const latents = this.#floats(latent, this.#latentShape(1));
    const { pixels } = await this.sessions.vae_decoder.run({ latents });
    if (!pixels.data.every(Number.isFinite)) throw new Refusal("notFinite");
    return toImage(pixels.data, this.manifest.generation.image_size);
  }

  async #encodeImage(image) {
    const { width, height } = image;
    const values = pixelValues(image, { rescale_factor: 1 / 255, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] });
    const pixels = this.#floats(values, [1, 3, height, width]);
    const { latents } = await this.sessions.vae_encoder.run({ pixels });
    return latents.data;
  }

  #latentShape(rows) {
    const { latent_channels: channels, latent_size: size } = this.manifest.generation;
    return [rows, channels, size, size];
  }

  #emptyCache(rows) {
    const { layers, heads, width } = this.manifest.cache;
    return this.#floats(new Float32Array(0), [layers, 2, rows, heads, 0, width]);
  }

  #noFeatures() {
    const { shape } = this.manifest.graphs.tower.outputs.image_features;
    return this.#floats(new Float32Array(0), [0, ...shape.slice(1)]);
  }

  #requireContext(length) {
    const { context } = this.manifest;
    if (length > context) throw new Refusal("length", `${length} > ${context}`);
    return context - length;
  }

  #floats(data, shape) {
    return new this.ort.Tensor("float32", data, shape);
  }

  #integers(values, shape) {
    return new this.ort.Tensor("int64", BigInt64Array.from(values, BigInt), shape);
  }
}

function product(numbers) {
  return numbers.reduce((a, b) => a * b, 1);
}
