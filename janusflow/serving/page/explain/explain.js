/** The How it works tab: one drawing, step by step, and what the model did there. */
import { byId } from "../dom.js";
import { randomSeed } from "../draw/form.js";
import { say, tell } from "../language.js";
import { explain as wordsOf, isAbort, post } from "../server/server.js";
import { showChart } from "./chart.js";
import { showGuidance, showPath } from "./pictures.js";
import { showAlignment, showAttention } from "./regions.js";

const PATH = "v1/images/explanations";
const STEPS = 20;
const FIRST_SEED = 1;
const FRAME_MS = 350;
/** Images of at most so many pixels a side come as PNG: larger ones would be many megabytes. */
const LARGEST_PNG = 128;

/**
 * Set the tab up.
 * @returns {{fit: (model: object) => void}} `fit` takes what the server says about its model
 */
export function startExplain() {
  const slider = byId("explain-step");
  let controller = null;
  let seed = FIRST_SEED;
  let guidance = 2;
  let format = "png";
  /** Show the parts of the current explanation at a step. */
  let parts = [];
  let timer = null;

  async function run() {
    if (controller) return controller.abort();
    const prompt = byId("explain-prompt").value.trim() || say("explain.prompt.placeholder");
    const body = {
      prompt, seed, num_inference_steps: STEPS, guidance_scale: guidance, output_format: format,
    };
    tell(byId("explain-error"), null);
    controller = new AbortController();
    showBusy(true);
    try {
      show(await post(PATH, body, controller.signal));
      tell(byId("explain-status"), "explain.ready");
    } catch (error) {
      tell(byId("explain-status"), isAbort(error) ? "stage.cancelled" : null);
      if (!isAbort(error)) tell(byId("explain-error"), ...wordsOf(error));
    }
    controller = null;
    showBusy(false);
  }

  function show(told) {
    parts = [
      showPath(told), showChart(told), showGuidance(told, guidance), showAttention(told),
      showAlignment(told),
    ];
    tell(byId("explain-plan"), told.plan ? "explain.planned" : null, { plan: told.plan });
    byId("explain-parts").hidden = false;
    slider.max = String(told.steps.length);
    goTo(0);
  }

  function goTo(step) {
    slider.value = String(step);
    const values = { step, steps: slider.max };
    slider.setAttribute("aria-valuetext", say("explain.step", values));
    tell(byId("explain-step-line"), "explain.step", values);
    for (const part of parts) part(step);
  }

  /** Go on by itself until the end, or stop. */
  function play() {
    const isPlaying = timer !== null;
    pause();
    if (isPlaying) return;
    if (slider.value === slider.max) goTo(0);
    timer = setInterval(() => {
      goTo(Number(slider.value) + 1);
      if (slider.value === slider.max) pause();
    }, FRAME_MS);
    tell(byId("explain-play"), "explain.pause");
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    tell(byId("explain-play"), "explain.play");
  }

  function showBusy(isBusy) {
    pause();
    tell(byId("explain-go"), isBusy ? "draw.cancel" : "explain.go");
    byId("explain-again").disabled = isBusy;
    byId("explain-progress").hidden = !isBusy;
    if (isBusy) tell(byId("explain-status"), "explain.running");
  }

  byId("explain-form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  byId("explain-again").addEventListener("click", () => {
    seed = randomSeed();
    run();
  });
  slider.addEventListener("input", () => {
    pause();
    goTo(Number(slider.value));
  });
  byId("explain-play").addEventListener("click", play);
  return {
    fit(model) {
      guidance = model.defaults?.guidance_scale ?? guidance;
      format = model.image_size <= LARGEST_PNG ? "png" : "webp";
    },
  };
}
