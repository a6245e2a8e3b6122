/** The See tab: a conversation about images. */
import { byId } from "../dom.js";
import { dataUrl } from "../images.js";
import { tell } from "../language.js";
import { explain, isAbort, postForEvents } from "../server/server.js";
import { Attachments } from "./attachments.js";
import { AnswerTurn, clearTurns, showQuestion } from "./turns.js";

/**
 * Set the tab up.
 * @param {(image: Blob) => void} draw sends an image to the Draw tab
 * @returns {{attach: (image: Blob) => void}} `attach` takes an image of the Draw tab
 */
export function startSee(draw) {
  const attachments = new Attachments();
  const field = byId("question");
  /** The conversation in OpenAI's shape, without the answer that is under way. */
  let messages = [];
  let controller = null;

  function ask() {
    if (controller) return;
    tell(byId("see-error"), null);
    const text = field.value.trim();
    if (!text) {
      tell(byId("see-error"), "see.question.missing");
      field.focus();
      return;
    }
    field.value = "";
    const images = attachments.take();
    showEmpty(false);
    showQuestion(text, images, draw);
    answer(contentOf(text, images));
  }

  /**
   * Let the model answer the last question.
   * @param {Promise<object[]> | null} question null where it is among the messages already
   */
  async function answer(question = null) {
    const asked = messages;
    const turn = new AnswerTurn();
    controller = new AbortController();
    showBusy(true);
    let note = null;
    let retry = null;
    try {
      if (question) asked.push({ role: "user", content: await question });
      if ((await readAnswer(asked, turn, controller.signal)) === "length") note = ["see.cut", {}];
      byId("see-status").textContent = turn.text; // read aloud in one piece
    } catch (error) {
      note = isAbort(error) ? ["see.stopped", {}] : explain(error);
      if (!isAbort(error)) retry = () => again(turn);
    }
    turn.end(note, retry);
    controller = null;
    showBusy(false);
    // A conversation that was cleared meanwhile has other messages.
    if (retry === null && turn.text) asked.push({ role: "assistant", content: turn.text });
  }

  function again(turn) {
    if (controller) return;
    turn.node.remove();
    answer();
  }

  function clear() {
    controller?.abort();
    messages = [];
    clearTurns();
    attachments.take();
    showEmpty(true);
    tell(byId("see-error"), null);
    byId("see-status").textContent = "";
    field.focus();
  }

  byId("see-form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  field.addEventListener("keydown", (event) => {
    // While a Korean syllable is composed, Enter only ends it.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    ask();
  });
  byId("see-stop").addEventListener("click", () => controller?.abort());
  byId("see-clear").addEventListener("click", clear);
  for (const example of document.querySelectorAll("#panel-see .example")) {
    example.addEventListener("click", () => {
      field.value = example.textContent;
      field.focus();
    });
  }
  return {
    attach(image) {
      attachments.addAll([image]);
      field.focus();
    },
  };
}

/** Stream the answer into its turn; why it ended. */
async function readAnswer(messages, turn, signal) {
  const body = { messages, stream: true };
  let reason = null;
  for await (const { data } of postForEvents("v1/chat/completions", body, signal)) {
    const choice = data.choices?.[0];
    turn.add(choice?.delta?.content ?? "");
    reason = choice?.finish_reason ?? reason;
  }
  return reason;
}

/** A user's turn in OpenAI's shape: the images, then the words. */
async function contentOf(text, images) {
  const urls = await Promise.all(images.map(dataUrl));
  const parts = urls.map((url) => ({ type: "image_url", image_url: { url } }));
  return [...parts, { type: "text", text }];
}

function showEmpty(isEmpty) {
  byId("see-empty").hidden = !isEmpty;
  byId("see-clear").hidden = isEmpty;
}

function showBusy(isBusy) {
  const [go, stop] = [byId("see-ask"), byId("see-stop")];
  const hadFocus = document.activeElement === (isBusy ? go : stop);
  stop.hidden = !isBusy;
  go.hidden = isBusy;
  if (hadFocus) (isBusy ? stop : go).focus({ preventScroll: true });
}
