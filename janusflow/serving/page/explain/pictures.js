/** The pictures of an explanation: the way from noise, and what the words change. */
import { byId } from "../dom.js";
import { tell } from "../language.js";

/** The address of a picture that came as base64. */
export function addressOf(told, encoded) {
  return `data:image/${told.output_format};base64,${encoded}`;
}

/**
 * Where the drawing is, and where it would end.
 * @param {object} told the server's answer
 * @returns {(step: number) => void} shows a step; after the last one comes the picture itself
 */
export function showPath(told) {
  return (step) => {
    const here = told.steps[step];
    byId("explain-state").src = addressOf(told, here?.state ?? told.b64_json);
    byId("explain-end").src = addressOf(told, here?.predicted.guided ?? told.b64_json);
  };
}

/**
 * Guesses and finished pictures without words, with them, and with guidance.
 * @param {object} told the server's answer
 * @param {number} guidance its weight
 * @returns {(step: number) => void} shows the guesses of a step
 */
export function showGuidance(told, guidance) {
  byId("explain-without").src = addressOf(told, told.without_prompt);
  byId("explain-unguided").src = addressOf(told, told.unguided);
  byId("explain-guided").src = addressOf(told, told.b64_json);
  tell(byId("explain-guidance-text"), "explain.guidance.text", { guidance });
  return (step) => {
    const { predicted } = told.steps[Math.min(step, told.steps.length - 1)];
    byId("explain-guess-without").src = addressOf(told, predicted.unconditional);
    byId("explain-guess-unguided").src = addressOf(told, predicted.conditional);
    byId("explain-guess-guided").src = addressOf(told, predicted.guided);
  };
}
