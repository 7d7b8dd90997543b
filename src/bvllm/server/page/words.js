// Write numbers and errors in plain words.

/** Seconds as 0:07, 12:40 or 1:02:03; with a tenth where frames lie closer than a second. */
export function clock(seconds, tenths = false) {
  const whole = Math.max(0, tenths ? Math.round(seconds * 10) / 10 : Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const rest = (tenths ? s.toFixed(1) : String(s)).padStart(tenths ? 4 : 2, "0");
  return h ? `${h}:${String(m).padStart(2, "0")}:${rest}` : `${m}:${rest}`;
}

/** A count with its noun; a narrow space parts thousands. */
export function count(number, one, many = `${one}s`) {
  return `${group(number)} ${number === 1 ? one : many}`;
}

export const group = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");

/** What the server is doing, from its progress comment, as { words, share }: `decode and encode 12/64`. */
export function progressWords(said) {
  const [, step, done, total] = said.match(/^(.*?)\s*(?:(\d+)(?:\/(\d+))?)?$/) ?? [];
  if (step === "decode and encode") {
    const words = total ? `Looking at the video: ${group(done)} of ${count(Number(total), "frame")}` : `Looking at the video: ${group(done)} frames`;
    return { words, share: total ? Number(done) / Number(total) : null };
  }
  if (step === "working") return { words: "The server is working\u2026", share: null };
  return { words: step.charAt(0).toUpperCase() + step.slice(1), share: null };
}

export function size(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  let place = 0;
  while (bytes >= 1000 && place < units.length - 1) (bytes /= 1000), place++;
  return `${bytes >= 10 || place === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${units[place]}`;
}

export function lasted(seconds) {
  if (seconds < 0.1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

// What to do about an error, by its code, else by its status. The server's own sentence stands beside it.
const GONE = ["The server no longer has this video", "Choose it again."];
const UNREADABLE = ["This file cannot be read as a video", "Try another file, or save it again as MP4."];
const UNKNOWN_KIND = ["This kind of video cannot be read here", "Save it as MP4 (H.264) and try again."];
const TOO_LARGE = ["This file is too large for this server", "Choose a smaller file, or cut out the part you need."];
const BUSY = ["The server is busy", "Wait a moment, then try again."];
const TOO_SLOW = ["This took too long", "Ask about a shorter part, or with a smaller budget."];
const BY_CODE = {
  missing: GONE,
  changed: GONE,
  file_not_found: GONE,
  outside_root: GONE,
  trace_not_found: ["The server no longer has this answer's frames", "Ask again to see them."],
  corrupt: UNREADABLE,
  io: UNREADABLE,
  empty: ["This file is empty", "Choose another file."],
  no_video: ["There is no picture in this file", "It may be sound only: choose a file with a picture."],
  unsupported_container: UNKNOWN_KIND,
  unsupported_codec: UNKNOWN_KIND,
  limit: ["This video is over a limit of this server", "Under More settings, ask about a part of it, or look less often."],
  video_too_large: TOO_LARGE,
  body_too_large: TOO_LARGE,
  storage_full: ["The server has no room for this video", "Ask whoever runs it to make room."],
  too_many_files: ["The server keeps too many videos", "Try again later, or ask whoever runs it."],
  queue_full: BUSY,
  shutting_down: ["The server is stopping", "Try again when it is back."],
  deadline: TOO_SLOW,
  model_error: ["The model gave no sound answer", "Ask in other words, or whoever runs the server."],
  stream_broken: ["The answer broke off", "Try again."],
  offline: ["The server does not answer", "See that it is still running, then try again."],
};
const BY_STATUS = {
  401: ["The key was not taken", "Type the key that the server was started with."],
  403: ["This is not allowed here", "Ask whoever runs the server."],
  404: GONE,
  408: TOO_SLOW,
  413: TOO_LARGE,
  429: BUSY,
  503: BUSY,
  504: TOO_SLOW,
};

/** A problem as { title, advice, detail, again }: `again` says whether the same may work on another try. */
export function problemWords(problem) {
  const [title, advice] = BY_CODE[problem.code] ?? BY_STATUS[problem.status] ?? fallback(problem);
  const again = problem.status >= 500 || problem.status === 429 || ["stream_broken", "offline"].includes(problem.code);
  return { title, advice, detail: problem.message ?? "", again };
}

const fallback = ({ status }) =>
  status >= 500
    ? ["Something went wrong on the server", "Try again; if it stays, its log says more."]
    : ["The server did not take this question", "Change what the line below names."];
