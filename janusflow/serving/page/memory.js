/** Small things to remember between visits; without storage they last until the page is left. */

const unsaved = new Map();

/**
 * What was remembered under this name.
 * @param {string} name
 * @returns {string | null}
 */
export function recall(name) {
  try {
    return localStorage.getItem(`janusflow.${name}`) ?? unsaved.get(name) ?? null;
  } catch {
    return unsaved.get(name) ?? null;
  }
}

/**
 * Keep a text under this name.
 * @param {string} name
 * @param {string} text
 */
export function remember(name, text) {
  unsaved.set(name, text);
  try {
    localStorage.setItem(`janusflow.${name}`, text);
  } catch {
    // Kept for this visit only.
  }
}
