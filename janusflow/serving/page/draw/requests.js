/** What the Draw tab asks of the server, and what comes back, as events of one kind. */
import { blobFromBase64 } from "../images.js";
import { post, postForEvents } from "../server/server.js";

/** At most so many previews of an image: more are no smoother to look at. */
const MAX_PREVIEWS = 30;
/** Twice the size, with edges as the model draws them. */
const UPSCALE = "refine:2";

/**
 * @typedef {object} Drawn
 * @property {"preview" | "plan" | "done"} type
 * @property {number} index which of the images
 * @property {Blob} [image] of a preview, or finished
 * @property {number} [step] of a preview, from 1
 * @property {number | null} [steps] in all; null where the solver chooses
 * @property {string | null} [plan]
 * @property {number} [seed]
 */

/**
 * Draw, from nothing or from an image.
 * @param {object} settings as `readSettings` gives them
 * @param {{image: Blob, mask: Blob | null} | null} start
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<Drawn>}
 */
export function drawImages(settings, start, signal) {
  const fields = { ...fieldsOf(settings), ...streaming(settings) };
  if (start === null) return drawnEvents("v1/images/generations", fields, signal);
  const form = formOf({ ...fields, strength: settings.strength }, start.image);
  if (start.mask) form.append("mask", start.mask, "mask.png");
  return drawnEvents("v1/images/edits", form, signal);
}

/**
 * One variation of a finished drawing.
 * @param {object} settings those it was drawn with, but for seed and strength
 * @param {Blob} image
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<Drawn>}
 */
export function varyImage(settings, image, signal) {
  const { strength } = settings;
  const form = formOf({ ...fieldsOf(settings), ...streaming(settings), strength }, image);
  return drawnEvents("v1/images/variations", form, signal);
}

/**
 * A finished drawing, larger.
 * @param {Blob} image
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<Drawn>}
 */
export async function* enlargeImage(image, signal) {
  const { data } = await post("v1/images/upscales", formOf({ upscale: UPSCALE }, image), signal);
  yield { type: "done", index: 0, image: blobFromBase64(data[0].b64_json) };
}

/**
 * What the model would draw instead of the prompt.
 * @param {string} prompt
 * @param {number} seed of the image
 * @param {AbortSignal} signal
 * @returns {Promise<string>}
 */
export async function planImage(prompt, seed, signal) {
  return (await post("v1/images/plans", { prompt, seed }, signal)).plan;
}

/** The settings that the server is sent; what is empty is left out. */
function fieldsOf(settings) {
  const { prompt, n, negative_prompt, num_inference_steps, guidance_scale, solver } = settings;
  const fields = { prompt, n, num_inference_steps, guidance_scale, solver };
  if (negative_prompt) fields.negative_prompt = negative_prompt;
  if (settings.seed !== null) fields.seed = settings.seed;
  if (settings.plan_text) fields.plan_text = settings.plan_text;
  else if (settings.plan === "never") fields.plan = "never";
  return fields;
}

function streaming(settings) {
  const every = Math.ceil(settings.num_inference_steps / MAX_PREVIEWS);
  return { stream: true, preview_every: every, response_format: "b64_json" };
}

function formOf(fields, image) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, String(value));
  form.append("image", image, "image.png");
  return form;
}

async function* drawnEvents(path, body, signal) {
  for await (const { event, data } of postForEvents(path, body, signal)) {
    const index = data.image_index ?? 0;
    const image = data.b64_json ? blobFromBase64(data.b64_json) : undefined;
    if (event.endsWith(".partial_image")) {
      yield { type: "preview", index, image, step: data.step, steps: data.steps };
    } else if (event.endsWith(".plan")) {
      yield { type: "plan", index, plan: data.plan };
    } else if (event.endsWith(".completed")) {
      yield { type: "done", index, image, seed: data.seed, plan: data.plan ?? null };
    }
  }
}
