// Choose a video: drop a file, pick one of the server's folder, or search that folder for a moment.

import * as api from "./api.js";
import { byId, make, show } from "./dom.js";
import { clock, count, size } from "./words.js";

const HITS = 12;

/** `choose` is called with { file } or { video, seconds? }, `failed` with a problem. */
export function chooser({ choose, failed }) {
  const [drop, file] = [byId("drop"), byId("file")];
  file.addEventListener("change", () => {
    if (file.files.length) choose({ file: file.files[0] });
    file.value = ""; // so that the same file can be chosen again
  });

  // The whole window takes a dropped file, so that a near miss does not make the browser leave the page.
  let depth = 0;
  const over = (change) => {
    depth = Math.max(0, depth + change);
    drop.classList.toggle("over", depth > 0);
    document.body.classList.toggle("dropping", depth > 0);
  };
  addEventListener("dragenter", () => over(1));
  addEventListener("dragleave", () => over(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    over(-depth);
    const dropped = event.dataTransfer?.files?.[0];
    if (dropped) choose({ file: dropped });
  });

  let known = [];
  const load = async () => {
    try {
      known = await api.videos();
    } catch (error) {
      failed(error);
      return;
    }
    show(byId("folder"), known.length > 0);
    byId("videos").replaceChildren(...known.map((video) => videoItem(video, choose)));
  };

  searching({ choose, failed, find: (id) => known.find((video) => video.id === id) });
  return { load };
}

function videoItem(video, choose) {
  const facts = [
    video.seconds ? clock(video.seconds) : null,
    video.bytes ? size(video.bytes) : null,
    video.indexed ? "indexed" : null,
  ].filter(Boolean);
  return make(
    "li",
    {},
    make(
      "button",
      { type: "button", className: "video", onclick: () => choose({ video }) },
      make("span", { className: "name" }, video.name),
      make("span", { className: "facts" }, facts.join(" \u00b7 ")),
    ),
  );
}

function searching({ choose, failed, find }) {
  const [form, field, note, hits] = ["search-form", "search", "search-note", "hits"].map(byId);
  let running = null;
  const clear = () => {
    hits.replaceChildren();
    show(hits, false);
    show(byId("videos"));
    note.textContent = "";
  };
  field.addEventListener("input", () => field.value || clear());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    running?.abort();
    if (!field.value.trim()) return clear();
    running = new AbortController();
    note.textContent = "Looking through the folder\u2026";
    try {
      const found = await api.search(field.value.trim(), HITS, running.signal);
      hits.replaceChildren(...found.map((hit) => hitItem(hit, find(hit.video), choose)));
      show(hits, found.length > 0);
      show(byId("videos"), found.length === 0);
      note.textContent = found.length
        ? `${count(found.length, "moment")}, the nearest first`
        : "Nothing like it among the indexed videos. `bvllm index FOLDER` adds a folder.";
    } catch (error) {
      if (error.name === "AbortError") return;
      clear();
      failed(error);
    }
  });
}

function hitItem(hit, video, choose) {
  const chosen = video ?? { id: hit.video, name: hit.name ?? hit.video };
  return make(
    "li",
    {},
    make(
      "button",
      { type: "button", className: "video", onclick: () => choose({ video: chosen, seconds: hit.seconds }) },
      make("span", { className: "name" }, make("b", {}, clock(hit.seconds)), ` ${chosen.name}`),
      make("span", { className: "facts" }, `score ${hit.score.toFixed(2)}`),
    ),
  );
}
