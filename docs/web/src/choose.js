// The next token: the likeliest, or drawn from the likeliest as torch.multinomial draws.

import { Refusal } from "./refusal.js";

const round = Math.fround;

/**
 * @param {Float32Array} logits of the next token
 * @param {{temperature: number, top_p: number}} settings temperature 0 takes the likeliest
 * @param {import("./random.js").Generator} generator draws one number a token, if any
 */
export function chooseToken(logits, settings, generator) {
  if (!logits.every(Number.isFinite)) throw new Refusal("notFinite");
  if (settings.temperature === 0) return likeliest(logits);
  const probabilities = nucleus(softmax(logits, settings.temperature), settings.top_p);
  return likeliest(probabilities.map((p) => p / generator.exponential()));
}

function likeliest(values) {
  return values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
}

export function softmax(logits, temperature) {
  const scaled = logits.map((value) => value / round(temperature));
  const largest = scaled.reduce((a, b) => Math.max(a, b));
  const powers = Float64Array.from(scaled, (value) => Math.exp(value - largest));
  const total = powers.reduce((a, b) => a + b);
  return Float32Array.from(powers, (value) => value / total);
}

/** All but the likeliest tokens that together reach `topP` become 0; at least one stays. */
export function nucleus(probabilities, topP) {
  if (topP >= 1) return probabilities;
  const order = Array.from(probabilities.keys()).sort((a, b) => probabilities[b] - probabilities[a]);
  const kept = new Float32Array(probabilities.length);
  let total = 0;
  for (const token of order) {
    total += probabilities[token];
    if (round(round(total) - probabilities[token]) >= round(topP)) break;
    kept[token] = probabilities[token];
  }
  return kept;
}
