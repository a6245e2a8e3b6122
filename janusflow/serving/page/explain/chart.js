/** The size of the velocity over time, as lines and as a table. */
import { byId, element } from "../dom.js";
import { tell } from "../language.js";

const SVG = "http://www.w3.org/2000/svg";
/** Of the drawing area, in units of the picture. */
const BOX = { left: 44, right: 584, top: 14, bottom: 214 };
const LINES = ["unconditional", "conditional", "guided"];
const PERCENT = 100;

/**
 * Draw the chart.
 * @param {object} told the server's answer
 * @returns {(step: number) => void} marks a step
 */
export function showChart(told) {
  const { steps } = told;
  const largest = Math.max(...steps.flatMap(({ speed }) => Object.values(speed)));
  const top = Math.ceil(largest * 2) / 2;
  const x = (t) => BOX.left + t * (BOX.right - BOX.left);
  const y = (speed) => BOX.bottom - (speed / top) * (BOX.bottom - BOX.top);
  const chart = byId("explain-chart");
  const marker = shape("line", { y1: BOX.top, y2: BOX.bottom, class: "marker" });
  chart.replaceChildren(...grid(top, x, y), marker);
  for (const name of LINES) {
    const points = steps.map(({ t, speed }) => `${x(t)},${y(speed[name])}`).join(" ");
    chart.append(shape("polyline", { points, class: name }));
  }
  const dot = shape("circle", { r: 5, class: "dot" });
  chart.append(dot);
  const deviation = Math.max(...steps.map((step) => step.deviation));
  const share = Math.max(1, Math.round(deviation * PERCENT));
  tell(byId("explain-speed-text"), "explain.speed.text", { percent: share });
  const [first, last] = [steps[0].speed.guided, steps.at(-1).speed.guided].map(rounded);
  tell(chart, "explain.chart", { first, last }, "aria-label");
  byId("explain-table").replaceChildren(...steps.map(row));
  return (step) => {
    const here = steps[Math.min(step, steps.length - 1)];
    marker.setAttribute("x1", x(here.t));
    marker.setAttribute("x2", x(here.t));
    dot.setAttribute("cx", x(here.t));
    dot.setAttribute("cy", y(here.speed.guided));
  };
}

/** Lines and numbers for sizes, and the words under the time. */
function grid(top, x, y) {
  const parts = [];
  for (let size = 0; size <= top; size += 0.5) {
    parts.push(shape("line", { x1: BOX.left, x2: BOX.right, y1: y(size), y2: y(size), class: "rule" }));
    const number = shape("text", { x: BOX.left - 8, y: y(size) + 4, "text-anchor": "end" });
    number.textContent = size.toFixed(1);
    parts.push(number);
  }
  for (const [key, t, anchor] of [["explain.noise", 0, "start"], ["explain.picture", 1, "end"]]) {
    const words = shape("text", { x: x(t), y: BOX.bottom + 22, "text-anchor": anchor });
    tell(words, key);
    parts.push(words);
  }
  return parts;
}

function row({ t, speed }) {
  const cells = LINES.map((name) => element("td", {}, rounded(speed[name])));
  return element("tr", {}, element("th", { scope: "row" }, rounded(t)), ...cells);
}

function rounded(number) {
  return number.toFixed(2);
}

function shape(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  return node;
}
