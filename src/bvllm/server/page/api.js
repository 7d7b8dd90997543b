// Talk to the server: every request of the page goes through here.

import { events } from "./sse.js";

const KEY = "bvllm-key"; // in sessionStorage: gone with the tab

/** A refusal: the error object of the server, with the status that it came with. */
export class Problem extends Error {
  constructor(message, { status = 0, code = "", retryAfter = 0 } = {}) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

const headers = (more = {}) => (key.get() ? { Authorization: `Bearer ${key.get()}`, ...more } : more);

async function send(path, { json, signal, method } = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method: method ?? (json === undefined ? "GET" : "POST"),
      headers: headers(json === undefined ? {} : { "Content-Type": "application/json" }),
      body: json === undefined ? undefined : JSON.stringify(json),
      signal,
    });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Problem("", { code: "offline" });
  }
  if (!answer.ok) throw asProblem(answer.status, await answer.text(), answer.headers.get("Retry-After"));
  return answer;
}

function asProblem(status, text, retryAfter) {
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    // a gateway's own page: its status must do
  }
  return new Problem(error.message ?? "", { status, code: error.code ?? "", retryAfter: Number(retryAfter) || 0 });
}

const read = async (path, options) => (await send(path, options)).json();

export const models = async () => (await read("v1/models")).data;
export const trace = (id) => read(`v1/traces/${encodeURIComponent(id)}`);
export const search = async (query, top, signal) => (await read("v1/search", { json: { query, top }, signal })).data;

/** The videos of the server's folder; none where it was given none. */
export async function videos() {
  try {
    return (await read("v1/videos")).data;
  } catch (error) {
    if (error.status === 404) return [];
    throw error;
  }
}

/** Where a <video> can fetch an uploaded file for a while; it cannot send a key. */
export async function mediaUrl(id) {
  return (await read(`v1/files/${encodeURIComponent(id)}/signed_url`, { method: "POST" })).url;
}

/** Upload a file. XMLHttpRequest, because fetch tells nothing of how far an upload is. */
export function upload(file, { progress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("purpose", "user_data");
    form.append("file", file, file.name);
    request.open("POST", "v1/files");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onerror = () => reject(new Problem("", { code: "offline" }));
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    request.onload = () =>
      request.status < 300
        ? resolve(JSON.parse(request.responseText))
        : reject(asProblem(request.status, request.responseText, request.getResponseHeader("Retry-After")));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}

/**
 * Ask, and hand over what arrives: { progress }, { text }, and at the end { trace }.
 * A stream that ends without a finish_reason did not finish, whatever it said.
 */
export async function* ask(body, signal) {
  const answer = await send("v1/chat/completions", { json: { ...body, stream: true }, signal });
  let finished = false;
  try {
    for await (const event of events(answer.body)) {
      if (event.comment) yield { progress: event.comment };
      if (!event.data || event.data === "[DONE]") continue;
      const chunk = JSON.parse(event.data);
      if (chunk.error) throw new Problem(chunk.error.message, { status: 200, code: chunk.error.code || "stream_broken" });
      const choice = chunk.choices?.[0];
      if (choice?.delta?.content) yield { text: choice.delta.content };
      if (choice?.finish_reason) finished = true;
      if (chunk.trace) yield { trace: chunk.trace };
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Problem) throw error;
    throw new Problem("", { code: "stream_broken" });
  }
  if (!finished) throw new Problem("", { code: "stream_broken" });
}
