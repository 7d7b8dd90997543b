// Show an answer: its words as they arrive, its frames, what it cost.

import { byId, make, show } from "./dom.js";
import { clock, count, group, lasted, progressWords } from "./words.js";

const LONG = 80; // letters; above, an answer is read, not seen at a glance

export function answerCard(stage) {
  const [empty, busy, words, bar, asked, text, cost, warnings] = [
    "answer-empty", "busy", "busy-words", "busy-bar", "asked", "answer", "cost", "warnings",
  ].map(byId);
  const say = (line, share = null) => {
    words.textContent = line;
    show(bar, share !== null);
    bar.value = share ?? 0;
  };

  return {
    begin(question) {
      [empty, cost].forEach((part) => show(part, false));
      warnings.replaceChildren();
      asked.textContent = question;
      text.textContent = "";
      text.classList.remove("long");
      show(asked);
      show(text);
      show(busy);
      byId("answer-card").scrollIntoView({ block: "nearest" });
      say("Asking\u2026");
    },
    progress(said) {
      const { words: line, share } = progressWords(said);
      say(line, share);
    },
    add(piece) {
      text.append(piece);
      text.classList.toggle("long", text.textContent.length > LONG);
      say("Answering\u2026");
    },
    stopped: () => show(busy, false),
    /** Everything of an answer at once: a new one at its end, or one of the history. */
    fill({ question, answer, trace, took }, first) {
      [empty, busy].forEach((part) => show(part, false));
      asked.textContent = question;
      text.replaceChildren(...withTimes(answer || "(no words)", stage));
      text.classList.toggle("long", text.textContent.length > LONG);
      [asked, text].forEach((part) => show(part));
      warnings.replaceChildren(...(trace.warnings ?? []).map((line) => make("p", { className: "warning" }, line.charAt(0).toUpperCase() + line.slice(1))));
      cost.replaceChildren(...costParts(trace, took, first));
      show(cost);
      fillFrames(trace, stage);
    },
    clear() {
      [busy, asked, text, cost].forEach((part) => show(part, false));
      show(empty);
      warnings.replaceChildren();
      show(byId("evidence"), false);
    },
  };
}

/** The words of an answer; a time in it is a button that goes there. */
function withTimes(answer, stage) {
  return answer.split(/\b((?:\d+:)?\d?\d:[0-5]\d)\b/).map((part, place) => {
    if (place % 2 === 0) return part;
    const seconds = part.split(":").reduce((sum, digits) => 60 * sum + Number(digits), 0);
    return make("button", { type: "button", className: "moment", aria: { label: `Go to ${part}` }, onclick: () => go(stage, seconds) }, part);
  });
}

function go(stage, seconds) {
  stage.seek(seconds);
  byId("stage").scrollIntoView({ block: "nearest" }); // on a phone it may be far above
}

function costParts(trace, took, first) {
  const frames = trace.frames.length;
  const share = trace.tokens_asked ? Math.min(1, trace.tokens_used / trace.tokens_asked) : 0;
  const bar = make("span", { className: "bar" }, make("span", { className: "fill" }));
  bar.firstChild.style.width = `${share * 100}%`;
  const facts = [
    fact("Visual tokens", `${group(trace.tokens_used)}`, `of ${group(trace.tokens_asked)} allowed`, bar),
    fact("Frames", group(frames), trace.frames_total ? `of ${group(trace.frames_total)} seen` : "chosen"),
    fact("Time", lasted(took), first > 1.5 * took ? `the first took ${lasted(first)}` : ""),
  ];
  return [make("dl", { className: "facts" }, ...facts), whole(trace), timings(trace.timings ?? {})].filter(Boolean);
}

/** What all frames would have cost: the reason for a budget. */
function whole({ frames_total: frames, patches_per_frame: patches, tokens_used: used }) {
  const tokens = frames * patches;
  if (!(tokens > used)) return null;
  const words = `Without a budget: ${count(frames, "frame")}, ${count(tokens, "token")}. 1 in ${group(Math.round(tokens / used))} was used.`;
  return make("p", { className: "note" }, words);
}

const fact = (name, value, beside, extra = null) =>
  make("div", {}, make("dt", {}, name), make("dd", {}, make("b", {}, value), ` ${beside}`, extra));

function timings(steps) {
  const rows = Object.entries(steps).filter(([name, seconds]) => name !== "total" && seconds > 0);
  const whole = rows.reduce((sum, [, seconds]) => sum + seconds, 0);
  if (!whole) return null;
  const row = ([name, seconds]) => {
    const bar = make("span", { className: "bar" }, make("span", { className: "fill" }));
    bar.firstChild.style.width = `${(100 * seconds) / whole}%`;
    return make("tr", {}, make("th", { scope: "row" }, name.replaceAll("_", " ")), make("td", {}, bar), make("td", {}, lasted(seconds)));
  };
  return make(
    "details",
    { className: "timings" },
    make("summary", {}, "Where the time went"),
    make("table", {}, make("tbody", {}, ...rows.map(row))),
  );
}

function fillFrames(trace, stage) {
  const closest = Math.min(...trace.frames.map((frame, k) => (k ? frame.time - trace.frames[k - 1].time : 9)));
  const cards = trace.frames.map((frame, place) => frameCard(frame, place, closest < 1, stage));
  byId("frames").replaceChildren(...cards);
  byId("frames").classList.toggle("few", cards.length <= 4);
  show(byId("evidence"), cards.length > 0);
  paintHeat();
}

function frameCard(frame, place, tenths, stage) {
  const time = clock(frame.time, tenths);
  const picture = make("img", { alt: "", loading: "lazy", decoding: "async", data: { plain: frame.url } });
  const button = make(
    "button",
    {
      type: "button",
      className: "frame",
      aria: { label: `Go to ${time}: ${count(frame.tokens, "token")}, score ${frame.score.toFixed(2)}` },
      onclick: () => go(stage, frame.time),
    },
    make("span", { className: "picture" }, picture),
    make("span", { className: "caption" }, make("b", {}, time), make("span", {}, count(frame.tokens, "token"))),
  );
  for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => stage.point(place));
  for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => stage.point(-1));
  picture.addEventListener("load", () => button.classList.add("there"));
  picture.addEventListener("error", () => button.classList.add("gone"));
  return make("li", {}, button);
}

/** Show each frame as it is, or with where the model looked painted over it. */
export function paintHeat() {
  const heat = byId("heat").checked;
  for (const picture of byId("frames").querySelectorAll("img")) {
    const url = new URL(picture.dataset.plain, document.baseURI);
    if (heat) url.searchParams.set("heat", "1");
    picture.src = url;
  }
}

/** Give up pictures that are still on their way: a browser has six connections, and a question needs one now. */
export function holdPictures() {
  for (const picture of byId("frames").querySelectorAll("img")) {
    if (!picture.complete) picture.removeAttribute("src");
  }
}
