// The model, off the page's thread. Messages in: load, generate, ask, cancel. Out: progress, ready,
// plan, step, piece, done, refused.

import { JanusFlow } from "./model.js";
import { Refusal } from "./refusal.js";

const ROOT = new URL("../", import.meta.url);
const RUNTIMES = {
  wasm: ["ort.wasm.min.mjs", "ort-wasm-simd-threaded"],
  webgpu: ["ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify"],
};

let model = null;
let isCancelled = false;
const turns = new MessageChannel();

self.onmessage = async ({ data: { kind, ...given } }) => {
  if (kind === "cancel") {
    isCancelled = true;
    return;
  }
  isCancelled = false;
  try {
    const start = performance.now();
    const result = await { load, generate, ask }[kind](given);
    self.postMessage({ kind: "done", of: kind, ms: performance.now() - start, ...result });
  } catch (error) {
    const known = error instanceof Refusal;
    const kindOfError = known ? error.kind : error instanceof RangeError ? "memory" : "other";
    const detail = known ? error.detail : String(error.message ?? error);
    self.postMessage({ kind: "refused", of: kind, error: kindOfError, detail });
  }
};

async function load({ device, sizes }) {
  const [module, binary] = RUNTIMES[device];
  const wanted = (name) => name.startsWith("model/") || name === `runtime/${binary}.wasm`;
  const total = sum(Object.entries(sizes).map(([name, size]) => (wanted(name) ? size : 0)));
  let loaded = 0;
  const read = async (name) => {
    const chunks = [];
    const reader = (await fetched(name)).body.getReader();
    for (let part; !(part = await next(reader, name)).done; ) {
      chunks.push(part.value);
      loaded += part.value.length;
      self.postMessage({ kind: "progress", loaded, total });
    }
    return new Uint8Array(await new Blob(chunks).arrayBuffer());
  };
  const ort = await import(new URL(`runtime/${module}`, ROOT)).catch(() => {
    throw new Refusal("network", module);
  });
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  ort.env.wasm.wasmBinary = await read(`runtime/${binary}.wasm`);
  ort.env.wasm.wasmPaths = { mjs: new URL(`runtime/${binary}.mjs`, ROOT).href };
  model = await JanusFlow.load(ort, (name) => read(`model/${name}`), device);
  const { manifest } = model;
  return { model: manifest.model, drawing: manifest.drawing, generation: manifest.generation };
}

function generate({ wish }) {
  return model.generate(wish, {
    onPlan: (plan) => self.postMessage({ kind: "plan", plan }),
    onStep: (step) => self.postMessage({ kind: "step", ...step }),
    pause,
  });
}

async function ask({ image, question }) {
  const onPiece = (text) => self.postMessage({ kind: "piece", text });
  return { text: await model.ask(image, question, { onPiece, pause }) };
}

/** Let messages in, and stop where one of them was "cancel". */
async function pause() {
  await new Promise((resolve) => {
    turns.port1.onmessage = resolve;
    turns.port2.postMessage(null);
  });
  if (isCancelled) throw new Refusal("cancelled");
}

async function fetched(name) {
  const response = await fetch(new URL(name, ROOT)).catch(() => null);
  if (!response?.ok) throw new Refusal("network", name);
  return response;
}

async function next(reader, name) {
  return reader.read().catch(() => {
    throw new Refusal("network", name);
  });
}

function sum(numbers) {
  return numbers.reduce((a, b) => a + b, 0);
}
