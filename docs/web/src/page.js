// The page: what people press, and what the worker tells.

import { fromRgba, toRgba } from "./images.js";
import { say, WORDS } from "./words.js";

const MEGA = 1e6;
const VARIATION_STRENGTH = 0.6;
const SEED_LIMIT = 2 ** 32;
const MOST_PIXELS = 4096 * 4096;
const MOST_WAITING_MS = 2000;

const $ = (id) => document.getElementById(id);
const isKorean = navigator.language.startsWith("ko");
let language = localStorage.getItem("language") ?? (isKorean ? "ko" : "en");
let worker = null;
let job = null; // what the worker does: "load", "generate", "ask", or null
let isReady = false;
let drawn = null; // the last drawing
let seen = null; // the image that is asked about
let sizes = {}; // of all files that can be loaded, in bytes
let shownStatus = () => "";

// ---- words -------------------------------------------------------------------------------------

function showWords() {
  document.documentElement.lang = language;
  document.title = say(language, "title");
  $("language").textContent = WORDS[language].other;
  $("language").lang = language === "en" ? "ko" : "en";
  for (const element of document.querySelectorAll("[data-text]")) {
    const values = element.id === "load" ? { size: $("load").dataset.size } : {};
    element.textContent = say(language, element.dataset.text, values);
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", say(language, element.dataset.label));
  }
  for (const [chips, field] of [["prompts", "prompt"], ["questions", "question"]]) {
    $(chips).replaceChildren(...WORDS[language][chips].map((text) => chip(text, field)));
  }
  $("status").textContent = shownStatus();
  describe();
}

function chip(text, field) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  button.onclick = () => {
    $(field).value = text;
    $(field).focus();
  };
  return button;
}

function describe() {
  const label = drawn ? say(language, "drawingOf", drawn) : say(language, "noDrawing");
  $("drawing").setAttribute("aria-label", label);
  $("seen").setAttribute("aria-label", say(language, "seenImage"));
}

/** @param {string} key of words.js; shown again in the other language when that is chosen */
function status(key, values = {}) {
  shownStatus = () => say(language, key, values);
  $("status").textContent = shownStatus();
  $("status").classList.toggle("bad", key.startsWith("errors.") && key !== "errors.cancelled");
}

// ---- the worker --------------------------------------------------------------------------------

function start(kind, given, transfer = []) {
  job = kind;
  showState();
  worker.postMessage({ kind, ...given }, transfer);
}

function showState() {
  const isFree = isReady && job === null;
  for (const id of ["draw", "ask"]) $(id).disabled = !isFree;
  for (const id of ["vary", "see", "save"]) $(id).disabled = !isFree || !drawn;
  $("load").disabled = job === "load";
  $("device").disabled = job === "load";
  $("loading").hidden = isReady;
  $("load-progress").hidden = job !== "load";
  $("cancel").hidden = job !== "generate" && job !== "ask";
  $("draw-progress").hidden = job !== "generate";
}

const HANDLERS = {
  progress({ loaded, total }) {
    $("load-progress").value = loaded / total;
    const sizes = { loaded: (loaded / MEGA).toFixed(1), total: (total / MEGA).toFixed(1) };
    status(loaded < total ? "loading" : "starting", sizes);
  },
  plan({ plan }) {
    $("plan").textContent = plan;
    status("drawing");
  },
  step({ index, steps, preview }) {
    $("draw-progress").value = (index + 1) / steps;
    if (preview) paint($("drawing"), preview);
    status("step", { index: index + 1, steps });
  },
  piece({ text }) {
    $("answers").lastElementChild.textContent = text;
  },
  refused({ of, error, detail }) {
    if (of === "ask") $("answers").lastElementChild.textContent = "–";
    if (of === "generate" && drawn) paint($("drawing"), drawn.image);
    job = null;
    status(`errors.${error in WORDS.en.errors ? error : "other"}`, { detail });
    showState();
  },
  done({ of, ms, ...result }) {
    job = null;
    FINISHED[of](result, (ms / 1000).toFixed(1));
    showState();
  },
};

const FINISHED = {
  load({ drawing, generation }) {
    isReady = true;
    localStorage.setItem("loaded", "yes");
    $("solver").replaceChildren(...Object.keys(generation.solvers).map((name) => new Option(name)));
    for (const name of ["steps", "guidance", "solver"]) $(name).value = drawing[name];
    status("ready");
  },
  generate({ image, plan }, seconds) {
    drawn = { ...asked, image, plan };
    paint($("drawing"), image);
    $("plan").textContent = plan ?? "";
    describe();
    status("drawn", { seconds, seed: drawn.seed });
  },
  ask({ text }, seconds) {
    $("answers").lastElementChild.textContent = text;
    status("answered", { seconds });
  },
};

function load() {
  worker?.terminate();
  worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  let isHeard = false;
  worker.onmessage = ({ data }) => {
    isHeard = true;
    HANDLERS[data.kind](data);
  };
  worker.onerror = ({ message }) => {
    const [error, detail] = isHeard ? ["other", message] : ["network", "worker.js"];
    HANDLERS.refused({ error, detail });
  };
  start("load", { device: $("device").value, sizes });
}

// ---- drawing -----------------------------------------------------------------------------------

let asked = null;

function draw(image) {
  if (!$("draw-form").reportValidity()) return;
  asked = { prompt: $("prompt").value, seed: $("seed").value };
  const wish = {
    ...asked,
    steps: Number($("steps").value),
    guidance: Number($("guidance").value),
    solver: $("solver").value,
    negativePrompt: $("negative").value.trim(),
    plans: image ? false : $("plans").checked,
  };
  if (image) Object.assign(wish, { image, strength: VARIATION_STRENGTH });
  $("draw-progress").value = 0;
  $("plan").textContent = "";
  status(wish.plans ? "planning" : "drawing");
  start("generate", { wish });
}

function paint(canvas, image) {
  Object.assign(canvas, { width: image.width, height: image.height });
  const pixels = new ImageData(toRgba(image), image.width, image.height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function save() {
  const link = document.createElement("a");
  link.download = `janusflow-${drawn.seed}.png`;
  link.href = $("drawing").toDataURL();
  link.click();
}

const newSeed = () => ($("seed").value = Math.floor(Math.random() * SEED_LIMIT));

// ---- asking ------------------------------------------------------------------------------------

async function look(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const { width, height } = bitmap;
    if (width * height > MOST_PIXELS) throw new RangeError("too large");
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    show(fromRgba(width, height, context.getImageData(0, 0, width, height).data));
  } catch {
    status("errors.image");
  }
}

function show(image) {
  seen = image;
  paint($("seen"), image);
  $("seen").hidden = false;
  $("drop-hint").hidden = true;
}

function ask(event) {
  event.preventDefault();
  const question = $("question").value;
  const [term, answer] = ["dt", "dd"].map((name) => document.createElement(name));
  Object.assign(term, { textContent: question });
  $("answers").append(term, answer);
  status("answering");
  start("ask", { image: seen, question });
}

// ---- wiring ------------------------------------------------------------------------------------

$("language").onclick = () => {
  language = language === "en" ? "ko" : "en";
  localStorage.setItem("language", language);
  showWords();
};
$("load").onclick = load;
$("draw-form").onsubmit = (event) => {
  event.preventDefault();
  draw(null);
};
$("vary").onclick = () => {
  newSeed();
  draw(drawn.image);
};
$("cancel").onclick = () => worker.postMessage({ kind: "cancel" });
$("dice").onclick = newSeed;
$("save").onclick = save;
$("see").onclick = () => {
  show(drawn.image);
  $("question").focus();
};
$("ask-form").onsubmit = ask;
$("pick").onchange = ({ target }) => target.files[0] && look(target.files[0]);
document.onpaste = ({ clipboardData }) => {
  const file = [...clipboardData.files].find((each) => each.type.startsWith("image/"));
  if (file) look(file);
};
$("drop").ondragover = (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
};
$("drop").ondragleave = () => $("drop").classList.remove("over");
$("drop").ondrop = (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (event.dataTransfer.files[0]) look(event.dataTransfer.files[0]);
};

/** Wait until the service worker looks after the page, where there is one, but not for long. */
async function keepFiles() {
  const workers = navigator.serviceWorker;
  const registered = await workers?.register("sw.js").catch(() => null);
  if (!registered || workers.controller) return;
  await Promise.race([
    new Promise((resolve) => workers.addEventListener("controllerchange", resolve, { once: true })),
    new Promise((resolve) => setTimeout(resolve, MOST_WAITING_MS)),
  ]);
}

async function begin() {
  newSeed();
  showWords();
  $("prompt").value = WORDS[language].prompts[0];
  $("question").value = WORDS[language].questions[0];
  await keepFiles();
  ({ sizes } = await (await fetch("files.json")).json());
  const isLoaded = (name) => name.startsWith("model/") || name.endsWith("simd-threaded.wasm");
  const bytes = Object.entries(sizes).reduce((sum, [name, size]) => sum + (isLoaded(name) ? size : 0), 0);
  $("load").dataset.size = Math.round(bytes / MEGA);
  showWords();
  $("device-choice").hidden = !(await navigator.gpu?.requestAdapter().catch(() => null));
  if (localStorage.getItem("loaded")) load();
}

begin().catch(() => status("errors.network", { detail: "files.json" }));
