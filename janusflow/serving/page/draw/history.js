/**
 * The drawings of this browser, newest first, kept in IndexedDB.
 *
 * An entry is {id, created, image: Blob, settings, start}: `created` in milliseconds, `settings` as
 * the form has them with the seed and plan that were used, `start` the image and mask or null.
 */

const NAME = "janusflow";
const STORE = "drawings";
/** Beyond, the oldest are let go. */
const MAX_ENTRIES = 300;

const urls = new WeakMap();

export class History {
  /** @type {object[]} all entries, newest first */
  entries = [];
  /** Called after every change. */
  onChange = () => {};
  /** @type {IDBDatabase | null} null keeps entries until the page is left */
  #database = null;

  /**
   * Read what is kept.
   * @returns {Promise<boolean>} whether this browser keeps it
   */
  async open() {
    try {
      this.#database = await openDatabase();
      const kept = await settled(this.#store("readonly").getAll());
      this.entries = kept.reverse();
    } catch {
      this.#database = null;
    }
    this.onChange();
    return this.#database !== null;
  }

  /**
   * Keep a drawing.
   * @param {{image: Blob, settings: object, start: object | null}} drawing
   * @returns {object} its entry
   */
  add(drawing) {
    const entry = { id: this.#newId(), created: Date.now(), ...drawing };
    this.entries.unshift(entry);
    this.#write((store) => store.put(entry));
    for (const old of this.entries.splice(MAX_ENTRIES)) this.#forget(old);
    this.onChange();
    return entry;
  }

  /** Delete one entry. */
  remove(entry) {
    this.entries = this.entries.filter((each) => each !== entry);
    this.#forget(entry);
    this.onChange();
  }

  /** Delete all entries. */
  clear() {
    for (const entry of this.entries.splice(0)) this.#forget(entry);
    this.onChange();
  }

  /** Larger than all before, and another one than what a second tab makes at the same time. */
  #newId() {
    const now = Date.now() * 1000 + Math.floor(Math.random() * 1000);
    return Math.max(now, (this.entries[0]?.id ?? 0) + 1);
  }

  #forget(entry) {
    URL.revokeObjectURL(urls.get(entry));
    this.#write((store) => store.delete(entry.id));
  }

  #store(mode) {
    return this.#database.transaction(STORE, mode).objectStore(STORE);
  }

  /** Change the store; where it is full or gone, what is in memory stays. */
  #write(change) {
    if (this.#database === null) return;
    try {
      const request = change(this.#store("readwrite"));
      request.onerror = (event) => event.preventDefault();
    } catch (error) {
      console.warn("not kept in this browser:", error);
    }
  }
}

/**
 * A URL of the entry's image, the same each time.
 * @param {{image: Blob}} entry
 */
export function urlOf(entry) {
  if (!urls.has(entry)) urls.set(entry, URL.createObjectURL(entry.image));
  return urls.get(entry);
}

function openDatabase() {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
  return settled(request);
}

/** The request's result, once it is there. */
function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
