// Keep what was asked in this tab, so that budgets can be compared; nothing outlives the tab.

import { byId, make, show } from "./dom.js";
import { group, lasted } from "./words.js";

const KEPT = "bvllm-history";
const MOST = 60;

export function historyList(open) {
  let entries = restored();

  const draw = (current = null) => {
    show(byId("history-part"), entries.length > 0);
    const items = questions(entries).map((asked) => item(asked, current, open));
    byId("history").replaceChildren(...items);
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
    /** The first answer about a video paid for looking at it; later ones are told beside it. */
    first: (video) => entries.findLast((entry) => entry.video.id === video.id),
    add(entry) {
      const same = (other) => sameQuestion(other, entry) && other.trace.tokens_asked === entry.trace.tokens_asked;
      const first = this.first(entry.video);
      entries = [entry, ...entries.filter((other) => other === first || !same(other))].slice(0, MOST);
      keep();
      draw(entry);
    },
    mark: draw,
  };
}

const sameQuestion = (one, other) => one.video.id === other.video.id && one.question === other.question;

/** Entries gathered by question, the newest question first, in each the smallest budget first. */
function questions(entries) {
  const gathered = [];
  for (const entry of entries) {
    const found = gathered.find((group) => sameQuestion(group[0], entry));
    if (!found) gathered.push([entry]);
    else if (!found.some((other) => other.trace.tokens_asked === entry.trace.tokens_asked)) found.push(entry);
  }
  for (const asked of gathered) asked.sort((one, other) => one.trace.tokens_asked - other.trace.tokens_asked);
  return gathered;
}

function restored() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT)) ?? [];
  } catch {
    return [];
  }
}

function item(asked, current, open) {
  const rows = asked.map((entry) => make("li", {}, row(entry, entry === current, open)));
  return make(
    "li",
    { className: "asked-before" },
    make("p", { className: "q" }, asked[0].question),
    make("p", { className: "facts" }, asked[0].video.name),
    make("ul", {}, ...rows),
  );
}

function row(entry, current, open) {
  const button = make(
    "button",
    { type: "button", className: "entry", onclick: () => open(entry) },
    make("span", { className: "tokens" }, make("b", {}, group(entry.trace.tokens_asked)), make("span", { className: "hidden" }, " tokens")),
    make("span", { className: "a" }, entry.answer),
    make("span", { className: "facts" }, lasted(entry.took)),
  );
  if (current) button.setAttribute("aria-current", "true");
  return button;
}
