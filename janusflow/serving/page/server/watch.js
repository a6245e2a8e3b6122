/** Whether the server is there, what model it has, and the key it may ask for. */
import { byId } from "../dom.js";
import { tell } from "../language.js";
import { describeModel, isAlive, useKey, whenKeyNeeded } from "./server.js";

const POLL_MS = 4000;
/** How long "The server is back" stays. */
const BACK_MS = 4000;
/** Images of at most so many pixels a side are shown as the pixels they are. */
const COARSE_SIZE = 128;

/**
 * Look for the server now and then, quietly; say when it is gone and when it is back.
 * @param {(model: object) => void} onModel told about the model, again after each return
 */
export function watchServer(onModel) {
  let isThere = true;
  let isKnown = false;

  async function learn() {
    try {
      const { id, janusflow: model } = await describeModel();
      byId("model").textContent = id;
      byId("knows").textContent = model.knows ?? "";
      document.documentElement.dataset.pixels = model.image_size <= COARSE_SIZE ? "coarse" : "fine";
      onModel(model);
      isKnown = true;
      byId("server-key").hidden = true;
    } catch (error) {
      // Gone: the next look finds it. Without a key: the form for it is shown.
      console.info(String(error));
    }
  }

  async function look() {
    const wasThere = isThere;
    isThere = await isAlive();
    if (isThere !== wasThere) showServer(isThere);
    if (isThere && (!wasThere || !isKnown)) await learn();
  }

  whenKeyNeeded(() => {
    isKnown = true; // Until a key is entered, asking again is of no use.
    byId("server-key").hidden = false;
    if (document.activeElement === document.body) byId("key").focus();
  });
  byId("server-key").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(byId("key").value.trim());
    learn();
  });
  look();
  setInterval(() => document.hidden || look(), POLL_MS);
  document.addEventListener("visibilitychange", () => document.hidden || look());
}

/** The line at the top: it stays while the server is gone, and for a moment when it is back. */
function showServer(isThere) {
  const line = byId("server-line");
  tell(line, isThere ? "server.back" : "server.gone");
  line.hidden = false;
  line.classList.toggle("good", isThere);
  if (isThere) setTimeout(() => (line.hidden = line.classList.contains("good")), BACK_MS);
}
