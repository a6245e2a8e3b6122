/** The Draw tab: from the form to the images, and from them onwards. */
import { byId, onSubmitKeys } from "../dom.js";
import { onImages, readImage } from "../images.js";
import { tell } from "../language.js";
import { explain, isAbort, ServerError } from "../server/server.js";
import { Brush } from "./brush.js";
import { fitForm, hasPrompt, randomSeed, readSettings, startForm, writeSettings } from "./form.js";
import { startGallery } from "./gallery.js";
import { drawImages, enlargeImage, planImage, varyImage } from "./requests.js";
import { Stage } from "./stage.js";
import { StartImage, VARIATION_STRENGTH } from "./start_image.js";
import { startViewer } from "./viewer.js";

/**
 * Set the tab up.
 * @param {import("./history.js").History} history
 * @param {(image: Blob) => void} ask sends an image to the See tab
 * @returns {{fit: (model: object) => void, startFrom: (image: Blob) => Promise<void>}} `fit` it to
 *   the model once it is known; `startFrom` an image of elsewhere
 */
export function startDraw(history, ask) {
  const start = new StartImage();
  const run = makeRunner(history, new Stage({ open: (entry) => open(entry), ask: askAbout }));
  const plan = startPlan();
  const brush = new Brush(({ image, mask, prompt }) => {
    start.set(image, mask);
    plan.close();
    writeSettings({ prompt, seed: null, n: 1 });
    submit();
  });

  function askAbout(entry) {
    ask(entry.image);
  }

  async function submit() {
    if (run.isBusy) return;
    tell(byId("draw-error"), null);
    if (!hasPrompt()) {
      tell(byId("draw-error"), "draw.prompt.missing");
      byId("prompt").focus();
      return;
    }
    const settings = readSettings();
    if (plan.isOpen) {
      Object.assign(settings, { plan_text: plan.text, seed: settings.seed ?? plan.seed });
    } else if (settings.plan === "edit" && start.image === null) {
      await run.plan(async (signal) => {
        const seed = settings.seed ?? randomSeed();
        plan.open(await planImage(settings.prompt, seed, signal), seed);
      });
      return;
    }
    const kept = start.kept;
    const drawn = { ...settings, kind: kept ? "edit" : "generation" };
    await run.draw(drawn, kept, (signal) => drawImages(settings, kept, signal));
  }

  async function startFrom(image) {
    try {
      start.set(await readImage(image, { square: true }));
      plan.close();
      writeSettings({ seed: null });
      byId("prompt").focus();
    } catch (error) {
      tell(byId("draw-error"), ...explain(error));
    }
  }

  const open = startViewer(history, {
    ask: askAbout,
    reuse: ({ settings, start: from }) => {
      writeSettings({ ...settings, n: 1 });
      start.set(from?.image ?? null, from?.mask);
      if (from) writeSettings({ strength: settings.strength });
      if (settings.plan_text) plan.open(settings.plan_text, settings.seed);
      else plan.close();
      byId("prompt").focus();
    },
    vary: ({ settings, image }) => {
      const strength = VARIATION_STRENGTH;
      const drawn = { ...settings, n: 1, seed: null, strength, kind: "variation" };
      run.draw(drawn, { image, mask: null }, (signal) => varyImage(drawn, image, signal));
    },
    start: ({ settings, image }) => {
      writeSettings({ prompt: settings.plan || settings.prompt });
      startFrom(image);
    },
    edit: ({ settings, image }) => brush.open(image, settings.plan || settings.prompt),
    upscale: ({ settings, image, start: from }) => {
      const drawn = { ...settings, n: 1, kind: "upscale" };
      run.draw(drawn, from, (signal) => enlargeImage(image, signal));
    },
  });
  startGallery(history, open);
  startForm();
  startImageChoice(startFrom);
  startExamples(submit);

  byId("start-paint").addEventListener("click", () => {
    brush.open(start.image, byId("prompt").value);
  });
  byId("start-remove").addEventListener("click", () => start.set(null));
  byId("seed-reuse").addEventListener("click", () => {
    const seed = history.entries[0]?.settings.seed;
    if (seed !== undefined) writeSettings({ seed });
  });
  byId("draw-form").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  onSubmitKeys(byId("draw-form"), submit);
  return { fit: fitForm, startFrom };
}

/** The plan that is drawn instead of the prompt, while it is edited. */
function startPlan() {
  const plan = {
    seed: 0,
    get isOpen() {
      return !byId("plan-box").hidden;
    },
    get text() {
      return byId("plan-text").value.trim();
    },
    open(text, seed) {
      plan.seed = seed;
      byId("plan-box").hidden = false;
      byId("plan-text").value = text;
      byId("plan-text").focus();
      tell(byId("draw-go-words"), "plan.draw");
    },
    close() {
      byId("plan-box").hidden = true;
      tell(byId("draw-go-words"), "draw.go");
    },
  };
  byId("plan-close").addEventListener("click", plan.close);
  byId("prompt").addEventListener("input", plan.close);
  return plan;
}

/** Runs one thing at a time, which Cancel ends. */
function makeRunner(history, stage) {
  let controller = null;
  byId("draw-cancel").addEventListener("click", () => controller?.abort());

  async function work(task, onEnd) {
    if (controller) return;
    controller = new AbortController();
    tell(byId("draw-error"), null);
    setBusy(true);
    try {
      await task(controller.signal);
      onEnd(null);
    } catch (error) {
      onEnd(isAbort(error) ? "stage.cancelled" : "");
      if (!isAbort(error)) tell(byId("draw-error"), ...explain(error));
    } finally {
      controller = null;
      setBusy(false);
    }
  }

  return {
    get isBusy() {
      return controller !== null;
    },
    /** Draw `settings.n` images and keep them; `events` yields what the server tells. */
    draw(settings, start, events) {
      stage.begin(settings.n, settings.prompt);
      return work(async (signal) => {
        for await (const { type, index, ...drawn } of events(signal)) {
          if (type === "preview") stage.preview({ index, ...drawn });
          else if (type === "plan") stage.plan(index, drawn.plan);
          else stage.done(index, history.add(entryOf(settings, start, drawn)));
        }
        if (!stage.isDone) throw new ServerError("error.broken");
      }, (key) => stage.end(key));
    },
    /** Wait for a plan. */
    plan(task) {
      tell(byId("stage-status"), "plan.running");
      return work(task, (key) => tell(byId("stage-status"), key === null ? "plan.ready" : key || null));
    },
  };
}

function entryOf(settings, start, { image, seed, plan }) {
  return {
    image,
    start,
    settings: { ...settings, seed: seed ?? settings.seed, plan: plan ?? settings.plan_text ?? null },
  };
}

/** Show Cancel in the place of Draw, or Draw again; who had the one in focus has the other. */
function setBusy(isBusy) {
  const [go, cancel] = [byId("draw-go"), byId("draw-cancel")];
  const hadFocus = document.activeElement === (isBusy ? go : cancel);
  cancel.hidden = !isBusy;
  go.hidden = isBusy;
  if (hadFocus) (isBusy ? cancel : go).focus({ preventScroll: true });
}

/** An image to start from may be chosen, dropped or pasted. */
function startImageChoice(startFrom) {
  byId("start-file").addEventListener("change", ({ target }) => {
    if (target.files[0]) startFrom(target.files[0]);
    target.value = "";
  });
  onImages(byId("panel-draw"), ([image]) => startFrom(image));
}

/** A click on an example draws it. */
function startExamples(submit) {
  for (const example of document.querySelectorAll("#stage-empty .example")) {
    example.addEventListener("click", () => {
      writeSettings({ prompt: example.textContent });
      submit();
    });
  }
}
