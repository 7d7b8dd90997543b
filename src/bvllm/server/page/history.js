// Keep what was asked in this tab, so that answers can be compared; nothing outlives the tab.

import { byId, make, show } from "./dom.js";
import { count, lasted } from "./words.js";

const KEPT = "bvllm-history";
const MOST = 40;

export function historyList(open) {
  let entries = restored();

  const draw = (current = null) => {
    show(byId("history-part"), entries.length > 0);
    byId("history").replaceChildren(...entries.map((entry) => item(entry, entry === current, open)));
  };
  const keep = () => {
    try {
      sessionStorage.setItem(KEPT, JSON.stringify(entries));
    } catch {
      entries = entries.slice(0, Math.ceil(entries.length / 2)); // storage is full: forget the older half
    }
  };
  byId("forget").addEventListener("click", () => {
    entries = [];
    sessionStorage.removeItem(KEPT);
    draw();
    byId("question").focus();
  });
  draw();
  return {
    add(entry) {
      entries = [entry, ...entries].slice(0, MOST);
      keep();
      draw(entry);
    },
    mark: draw,
  };
}

function restored() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT)) ?? [];
  } catch {
    return [];
  }
}

function item(entry, current, open) {
  const facts = `${count(entry.trace.tokens_used, "token")} \u00b7 ${lasted(entry.took)} \u00b7 ${entry.video.name}`;
  const button = make(
    "button",
    { type: "button", className: "entry", onclick: () => open(entry) },
    make("span", { className: "q" }, entry.question),
    make("span", { className: "a" }, entry.answer),
    make("span", { className: "facts" }, facts),
  );
  if (current) button.setAttribute("aria-current", "true");
  return make("li", {}, button);
}
