/** Starts the page: tabs, language, theme, and whether the server is there. */
import { byId } from "./dom.js";
import { startDraw } from "./draw/draw.js";
import { History } from "./draw/history.js";
import { startExplain } from "./explain/explain.js";
import { switchLanguage, tell, translatePage } from "./language.js";
import { remember } from "./memory.js";
import { startSee } from "./see/see.js";
import { watchServer } from "./server/watch.js";

/** A tab is `#tab-NAME` in the header and `#panel-NAME` below; its name is the URL's fragment. */
const TABS = ["draw", "see", "explain"];

const history = new History();
const draw = startDraw(history, (image) => {
  showTab("see");
  see.attach(image);
});
const see = startSee((image) => {
  showTab("draw");
  draw.startFrom(image);
});

const explain = startExplain();

startTabs();
startSwitches();
watchServer((model) => {
  draw.fit(model);
  explain.fit(model);
});
translatePage();
history.open().then((isKept) => {
  if (!isKept) tell(byId("gallery-note"), "error.history");
});

/** Show one tab; the address names it, so that a reload shows it again. */
function showTab(name) {
  const address = name === TABS[0] && !location.hash ? "" : `#${name}`;
  if (location.hash !== address) window.history.pushState(null, "", address);
  for (const each of TABS) {
    const tab = byId(`tab-${each}`);
    tab.setAttribute("aria-selected", String(each === name));
    tab.tabIndex = each === name ? 0 : -1;
    byId(`panel-${each}`).hidden = each !== name;
  }
}

function startTabs() {
  const fromAddress = () => {
    const name = location.hash.slice(1);
    showTab(TABS.includes(name) ? name : TABS[0]);
  };
  for (const name of TABS) byId(`tab-${name}`).addEventListener("click", () => showTab(name));
  byId("tabs").addEventListener("keydown", ({ key }) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!by) return;
    const here = TABS.findIndex((name) => !byId(`panel-${name}`).hidden);
    const next = TABS[(here + by + TABS.length) % TABS.length];
    showTab(next);
    byId(`tab-${next}`).focus();
  });
  window.addEventListener("popstate", fromAddress);
  fromAddress();
}

function startSwitches() {
  byId("language").addEventListener("click", switchLanguage);
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const theme = () => root.dataset.theme ?? (system.matches ? "dark" : "light");
  const offerOther = () => {
    const other = theme() === "dark" ? "light" : "dark";
    tell(byId("theme"), `page.theme.${other}`, {}, "aria-label");
  };
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    remember("theme", root.dataset.theme);
    offerOther();
  });
  system.addEventListener("change", offerOther);
  offerOther();
  const isMac = /Mac|iP(hone|ad)/.test(navigator.platform);
  tell(byId("shortcut"), isMac ? "draw.shortcut.mac" : "draw.shortcut");
}
