/** The settings of the Draw tab: what the form shows, and what it stands for. */
import { byId } from "../dom.js";
import { recall, remember } from "../memory.js";

/** Settings by the server's names, each with the id of its field. */
const NUMBERS = {
  n: "count",
  num_inference_steps: "steps",
  guidance_scale: "guidance",
  strength: "strength",
};
const TEXTS = { prompt: "prompt", negative_prompt: "negative", solver: "solver", plan: "plan" };
const SEED_LIMIT = 2 ** 31;

/** A seed as good as any other. */
export function randomSeed() {
  return Math.floor(Math.random() * SEED_LIMIT);
}

/** Whether the prompt says something. */
export function hasPrompt() {
  return byId("prompt").value.trim() !== "";
}

/**
 * What the form says, by the server's names; `seed` is null for a new one each time.
 * @returns {object}
 */
export function readSettings() {
  const settings = { seed: byId("seed").value === "" ? null : numberOf(byId("seed")) };
  for (const [name, id] of Object.entries(NUMBERS)) settings[name] = numberOf(byId(id));
  for (const [name, id] of Object.entries(TEXTS)) settings[name] = byId(id).value.trim();
  remember("settings", JSON.stringify(settings));
  return settings;
}

/**
 * Fill these settings in; those that are not given stay as they are.
 * @param {object} settings by the server's names
 */
export function writeSettings(settings) {
  for (const [name, id] of Object.entries({ ...NUMBERS, ...TEXTS, seed: "seed" })) {
    if (settings[name] === undefined) continue;
    const field = byId(id);
    const before = field.value;
    field.value = settings[name] ?? "";
    // A select that has no such option is left empty.
    if (field.value === "" && field instanceof HTMLSelectElement) field.value = before;
    field.dispatchEvent(new Event("input"));
  }
}

/** Whether the model's defaults and the remembered settings are in the form. */
let isFilled = false;

/**
 * Fit the form to the model: its solvers and limits and, the first time, its defaults.
 * @param {object} model the `janusflow` part of what the server says about it
 */
export function fitForm(model) {
  const solver = byId("solver");
  const chosen = solver.value || model.defaults.solver;
  solver.replaceChildren(...model.solvers.map((name) => new Option(name, name)));
  byId("plan-row").hidden = !model.plans;
  for (const [name, id] of Object.entries(NUMBERS)) {
    const limit = model.limits?.[name];
    if (limit) byId(id).max = limit;
  }
  const remembered = JSON.parse(recall("settings") ?? "{}");
  writeSettings(isFilled ? { solver: chosen } : { ...model.defaults, ...remembered });
  isFilled = true;
  if (!model.plans) byId("plan").value = "auto";
}

/** Set up what works without a server: each slider moves its number, and the other way round. */
export function startForm() {
  for (const slider of document.querySelectorAll("input[type=range][data-for]")) {
    const number = byId(slider.dataset.for);
    slider.addEventListener("input", () => (number.value = slider.value));
    number.addEventListener("input", () => (slider.value = number.value));
  }
  byId("seed-dice").addEventListener("click", () => writeSettings({ seed: null }));
  byId("settings").open = window.matchMedia("(min-width: 60rem)").matches;
}

/** The field's number within its limits; its first value where there is none. */
function numberOf(field) {
  const value = field.value === "" ? field.defaultValue : field.value;
  const least = field.min === "" ? -Infinity : Number(field.min);
  const most = field.max === "" ? Infinity : Number(field.max);
  const number = Math.min(most, Math.max(least, Number(value) || 0));
  if (field.value !== "") field.value = number;
  return number;
}
