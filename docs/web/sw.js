// Keeps what the page has loaded, so that it opens without a network the next time.

const LISTED = "files.json";
const isBulky = (name) => /^(model|runtime)\//.test(name); // kept when they are asked for

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  const isOurs = url.origin === self.location.origin && event.request.method === "GET";
  if (isOurs) event.respondWith(answer(event.request, url.pathname.endsWith(LISTED)));
});

/** The list of files comes from the network where there is one: it says whether there is news. */
async function answer(request, isList) {
  if (isList) {
    const fresh = await fetch(request, { cache: "no-cache" }).catch(() => null);
    if (fresh?.ok) {
      const { version, sizes } = await fresh.clone().json();
      for (const name of await caches.keys()) if (name !== version) await caches.delete(name);
      const cache = await caches.open(version);
      await cache.put(request, fresh.clone());
      await cache.addAll(["./", ...Object.keys(sizes).filter((name) => !isBulky(name))]);
      return fresh;
    }
  }
  const kept = await caches.match(request, { ignoreSearch: true });
  if (kept) return kept;
  const response = await fetch(request);
  const [version] = await caches.keys();
  if (response.ok && version) await (await caches.open(version)).put(request, response.clone());
  return response;
}
