// Wire the page together: one person, one video, one question at a time.

import * as api from "./api.js";
import { answerCard, holdPictures, paintHeat } from "./answer.js";
import { chooser } from "./chooser.js";
import { announce, byId, make, show } from "./dom.js";
import { historyList } from "./history.js";
import { keyDialog } from "./keys.js";
import { stage } from "./stage.js";
import { count, problemWords } from "./words.js";

const LEAST = 8; // visual tokens; each step of the budget doubles them
const SETTLE = 300; // ms that the budget must rest before the question is asked again

const page = {
  video: null, // { id, name } as the server knows it; id is null while the file is on its way
  uploading: null, // { stop, done } while it is
  local: "", // the file of this machine that is played
  asking: null, // AbortController of the question under way
  last: "", // the question that the budget asks again
};

const view = stage({ renew });
const card = answerCard(view);
const history = historyList(restore);
const keys = keyDialog(start);
const choose = chooser({ choose: take, failed: explain });

// --- the video

async function take({ file, video, seconds }) {
  leave();
  show(byId("chooser"), false);
  show(byId("watch"));
  byId("video-name").textContent = file ? file.name : video.name;
  if (file) await send(file);
  else await open(video, seconds);
}

async function send(file) {
  const stop = new AbortController();
  page.local = URL.createObjectURL(file);
  view.open(page.local); // plays at once, while it is on its way
  page.video = { id: null, name: file.name };
  hint();
  show(byId("uploading"));
  const progress = (share) => {
    byId("upload-bar").value = share;
    byId("upload-words").textContent = share < 1 ? `Uploading, ${Math.round(share * 100)} %` : "The server reads the file\u2026";
  };
  progress(0);
  const done = api.upload(file, { progress, signal: stop.signal });
  page.uploading = { stop, done };
  byId("question").focus();
  try {
    page.video = { id: (await done).id, name: file.name };
    announce(`${file.name} is on the server`);
  } catch (error) {
    if (page.uploading?.stop !== stop) return; // another video was chosen meanwhile
    back();
    explain(error);
  } finally {
    if (page.uploading?.stop === stop) {
      page.uploading = null;
      show(byId("uploading"), false);
      hint();
    }
  }
}

async function open(video, seconds) {
  page.video = { id: video.id, name: video.name };
  view.open("", video.seconds);
  hint();
  byId("video-name").focus();
  try {
    const url = await api.mediaUrl(video.id);
    if (page.video?.id !== video.id) return;
    view.open(url, video.seconds);
    if (seconds !== undefined) view.seek(seconds);
  } catch (error) {
    explain(error);
  }
}

async function renew() {
  try {
    return page.video?.id ? await api.mediaUrl(page.video.id) : null;
  } catch {
    return null; // the server no longer has it: what is left are the frames
  }
}

function leave() {
  page.asking?.abort();
  page.uploading?.stop.abort();
  URL.revokeObjectURL(page.local);
  Object.assign(page, { video: null, uploading: null, local: "", last: "" });
  show(byId("problem"), false);
  show(byId("uploading"), false);
  card.clear();
}

function back() {
  leave();
  view.close();
  show(byId("watch"), false);
  show(byId("chooser"));
  hint();
  byId("file").focus();
  choose.load();
}

// --- the question

async function ask(question) {
  page.asking?.abort();
  const stop = (page.asking = new AbortController());
  page.last = question;
  show(byId("problem"), false);
  busy(true);
  holdPictures();
  card.begin(question);
  const began = performance.now();
  let answer = "";
  let trace = null;
  try {
    if (page.uploading) card.progress("waiting for the upload");
    const { name } = page.video;
    const video = { id: page.video.id ?? (await unlessStopped(page.uploading.done, stop.signal)).id, name };
    for await (const part of api.ask(request(video.id, question), stop.signal)) {
      if (part.progress) card.progress(part.progress);
      if (part.text) card.add(part.text), (answer += part.text);
      if (part.trace) trace = part.trace;
    }
    const entry = { question, answer, trace, took: (performance.now() - began) / 1000, video };
    history.add(entry);
    settle(entry);
    announce(`Answer: ${answer}`);
  } catch (error) {
    if (page.asking !== stop) return; // asked again meanwhile
    card.stopped();
    paintHeat(); // those of the answer before
    if (error.name !== "AbortError") explain(error);
    else announce("Stopped");
  } finally {
    if (page.asking === stop) {
      page.asking = null;
      busy(false);
    }
  }
}

const unlessStopped = (promise, signal) =>
  Promise.race([
    promise,
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")))),
  ]);

function settle(entry) {
  view.mark(entry.trace.frames, entry.trace.duration);
  card.fill(entry, history.first(entry.video)?.took);
}

function request(id, question) {
  const number = (name) => (byId(name).value === "" ? undefined : Number(byId(name).value));
  const options = byId("options").value.split("\n").map((line) => line.trim()).filter(Boolean);
  return {
    model: byId("model-choice").value || undefined,
    messages: [
      {
        role: "user",
        content: [
          { type: "video_url", video_url: { url: id } },
          { type: "text", text: question },
        ],
      },
    ],
    token_budget: budget(),
    start: number("start"),
    end: number("stop"),
    frames: number("frames-most"),
    fps: number("fps"),
    options: options.length ? options : undefined,
  };
}

const budget = () => LEAST * 2 ** byId("budget").value;
const stepOf = (tokens) => Math.max(0, Math.round(Math.log2(tokens / LEAST)));

function busy(on) {
  byId("answer-card").setAttribute("aria-busy", String(on));
  show(byId("cancel"), on);
  byId("ask").textContent = page.last && !on ? "Ask again" : "Ask";
  byId("ask").disabled = on;
  hint();
}

function hint() {
  byId("ask-hint").textContent = page.video ? "" : "Choose a video first.";
}

// --- history, problems, settings

async function restore(entry) {
  if (page.video?.id !== entry.video.id) await take({ video: entry.video });
  page.last = byId("question").value = entry.question;
  try {
    entry = { ...entry, trace: await api.trace(entry.trace.id) }; // with fresh links to its pictures
  } catch {
    // forgotten by the server: the words stay
  }
  settle(entry);
  history.mark(entry);
  announce(`Answer: ${entry.answer}`);
}

function explain(problem) {
  if (problem.status === 401) {
    keys.ask(api.key.get() ? "This key was not taken." : "");
    return;
  }
  const { title, advice, detail, again } = problemWords(problem);
  const box = byId("problem");
  box.replaceChildren(
    make("strong", {}, title),
    make("p", {}, advice),
    detail ? make("p", { className: "detail" }, detail) : "",
    again && page.video && page.last
      ? make("button", { type: "button", className: "plain small", onclick: () => ask(page.last) }, "Try again")
      : "",
  );
  show(box);
  box.scrollIntoView({ block: "nearest" });
}

let resting = 0;
function budgetMoved() {
  const words = count(budget(), "visual token");
  byId("budget-words").textContent = words;
  byId("budget").setAttribute("aria-valuetext", words);
  clearTimeout(resting);
  if (page.last && page.video) resting = setTimeout(() => ask(page.last), SETTLE);
}

async function start() {
  try {
    const known = await api.models();
    byId("model-choice").replaceChildren(...known.map((model) => make("option", { value: model.id }, model.id)));
    show(byId("model-field"), known.length > 1);
    if (known[0]?.budget) offer(known[0].budget.tokens, known[0].limits.token_budget);
    byId("model").textContent = known.length === 1 ? `model ${known[0].id}` : "";
    show(byId("model"), known.length === 1);
    await choose.load();
  } catch (error) {
    explain(error);
  }
}

/** Budgets up to what the server allows, from what the model is made for. */
function offer(usual, most) {
  byId("budget").max = Math.floor(Math.log2(most / LEAST));
  if (!page.last) byId("budget").value = stepOf(usual);
  budgetMoved();
}

byId("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = byId("question").value.trim();
  if (!page.video) {
    byId("ask-hint").textContent = "Choose a video first: drop one, or press Choose a file.";
    announce(byId("ask-hint").textContent);
    byId("file").focus();
  } else if (!question) {
    byId("ask-hint").textContent = "Type a question first.";
    announce(byId("ask-hint").textContent);
    byId("question").focus();
  } else ask(question);
});
byId("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("ask-form").requestSubmit();
});
byId("cancel").addEventListener("click", () => {
  page.asking?.abort();
  byId("question").focus();
});
byId("budget").addEventListener("input", budgetMoved);
byId("heat").addEventListener("change", paintHeat);
byId("change").addEventListener("click", back);
byId("upload-cancel").addEventListener("click", back);
budgetMoved();
busy(false);
start();
