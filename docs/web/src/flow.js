// The flow without a model: times, one Runge-Kutta step after another, guidance. Float32 throughout.

const round = Math.fround;

/** Times from 0 to 1, one more than steps; `start` cuts off what lies before it. */
export function timeGrid(steps, { grid = "uniform", start = 0 } = {}) {
  const times = [];
  for (let i = 0; i <= steps; i++) {
    const t = i / steps;
    times.push(round(grid === "cosine" ? 1 - Math.cos((t * Math.PI) / 2) : t));
  }
  if (start === 0) return times;
  return [round(start), ...times.filter((t) => t > start + 1e-4)];
}

/**
 * Follow a velocity from noise to data.
 * @param {Float32Array} noise the state at times[0]
 * @param {(x: Float32Array, t: number) => Promise<Float32Array>} velocity
 * @param {{times: number[], tableau: {a: number[][], b: number[], c: number[]}}} how
 * @param {(step: {index: number, steps: number, predicted: Float32Array}) => Promise<void>} onStep
 *   told after every step where the path would end if it were straight from the step's start
 */
export async function solve(noise, velocity, { times, tableau }, onStep = async () => {}) {
  let x = noise;
  for (let index = 0; index + 1 < times.length; index++) {
    const t = times[index];
    const size = times[index + 1] - t;
    const stages = [];
    for (const [stage, weights] of tableau.a.entries()) {
      const at = stage ? moved(x, size, weighted(weights, stages)) : x;
      stages.push(await velocity(at, t + tableau.c[stage] * size));
    }
    const predicted = moved(x, 1 - t, stages[0]);
    x = moved(x, size, weighted(tableau.b, stages));
    await onStep({ index, steps: times.length - 1, predicted });
  }
  return x;
}

/** Classifier-free guidance: w conditional - (w - 1) unconditional. */
export function guided(conditional, unconditional, weight) {
  const [w, rest] = [round(weight), round(weight - 1)];
  return conditional.map((v, i) => round(w * v) - round(rest * unconditional[i]));
}

/** The point on the straight path between noise and a latent. */
export function pointOnPath(noise, latent, t) {
  return noise.map((n, i) => round(round(t) * latent[i]) + round(round(1 - t) * n));
}

function moved(x, size, velocity) {
  const step = round(size);
  return x.map((value, i) => value + round(step * velocity[i]));
}

function weighted(weights, stages) {
  let total = null;
  for (const [i, weight] of weights.entries()) {
    if (weight === 0) continue;
    const own = stages[i].map((v) => round(weight) * v);
    total = total === null ? own : total.map((v, j) => v + own[j]);
  }
  return total;
}
