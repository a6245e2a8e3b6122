/** One drawing large, with its settings and what can be done with it. */
import { button, byId, element } from "../dom.js";
import { urlOf } from "./history.js";
import { showDecoded } from "../images.js";
import { language, tell } from "../language.js";

/** What is told about an entry and its image, in this order. */
const FACTS = [
  ["viewer.prompt", ({ settings }) => settings.prompt],
  ["viewer.plan", ({ settings }) => settings.plan],
  ["viewer.negative", ({ settings }) => settings.negative_prompt],
  ["viewer.seed", ({ settings }) => settings.seed],
  ["viewer.steps", ({ settings }) => settings.num_inference_steps],
  ["viewer.guidance", ({ settings }) => settings.guidance_scale],
  ["viewer.solver", ({ settings }) => settings.solver],
  ["viewer.strength", ({ settings, start }) => (start ? settings.strength : null)],
  ["viewer.size", (_, { naturalWidth: width }) => (width ? `${width} × ${width}` : null)],
  ["viewer.date", ({ created }) => new Date(created).toLocaleString(language())],
];

/**
 * Set the dialog up.
 * @param {import("./history.js").History} history
 * @param {Record<string, (entry: object) => void>} actions `ask`, `reuse`, `vary`, `start`, `edit`,
 *   `upscale`
 * @returns {(entry: object) => void} opens the dialog
 */
export function startViewer(history, actions) {
  const dialog = byId("viewer");
  let shown = null;

  function show(entry) {
    shown = entry;
    const image = byId("viewer-image");
    image.alt = entry.settings.prompt;
    showDecoded(image, urlOf(entry)).then(() => showFacts(entry, image));
    showFacts(entry, image);
    const place = history.entries.indexOf(entry);
    byId("viewer-previous").disabled = place <= 0;
    byId("viewer-next").disabled = place === history.entries.length - 1;
  }

  function move(by) {
    const entry = history.entries[history.entries.indexOf(shown) + by];
    if (entry) show(entry);
  }

  function act(action) {
    dialog.close();
    action(shown);
  }

  byId("viewer-actions").append(
    button("viewer.ask", () => act(actions.ask), "primary"),
    button("viewer.reuse", () => act(actions.reuse)),
    button("viewer.vary", () => act(actions.vary)),
    button("viewer.start", () => act(actions.start)),
    button("viewer.edit", () => act(actions.edit)),
    button("viewer.upscale", () => act(actions.upscale)),
    button("viewer.download", () => download(shown)),
    button("viewer.delete", () => {
      const after = history.entries[history.entries.indexOf(shown) + 1] ?? history.entries.at(-2);
      history.remove(shown);
      if (after) show(after);
      else dialog.close();
    }),
  );
  byId("viewer-previous").addEventListener("click", () => move(-1));
  byId("viewer-next").addEventListener("click", () => move(1));
  byId("viewer-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", ({ key }) => {
    if (key === "ArrowLeft") move(-1);
    if (key === "ArrowRight") move(1);
  });
  closeOnBackdrop(dialog);
  return (entry) => {
    show(entry);
    dialog.showModal();
  };
}

/** Close a dialog, whose content fills it, by a click beside it; Escape closes it anyway. */
function closeOnBackdrop(dialog) {
  dialog.addEventListener("mousedown", (event) => {
    if (event.target === dialog) dialog.close();
  });
}

function showFacts(entry, image) {
  const list = byId("viewer-facts");
  tell(byId("viewer-title"), `kind.${entry.settings.kind}`);
  list.replaceChildren();
  for (const [key, read] of FACTS) {
    const value = read(entry, image);
    if (value === null || value === undefined || value === "") continue;
    list.append(element("dt", { say: key }), element("dd", {}, String(value)));
  }
}

/** Save the file as the server made it: it remembers how it was drawn. */
function download(entry) {
  const { prompt, seed } = entry.settings;
  const words = prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  const name = [...words.slice(0, 8), seed ?? ""].filter((each) => each !== "").join("-");
  element("a", { href: urlOf(entry), download: `${name || "drawing"}.png` }).click();
}
