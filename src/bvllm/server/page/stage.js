// Show the video, or the chosen frames as pictures where the browser cannot play it, and the time line under it.

import { controls } from "./controls.js";
import { byId, make, show } from "./dom.js";
import { peek } from "./peek.js";
import { clock } from "./words.js";

const STEP = 5; // seconds that an arrow key moves

/** `renew` gives a new link to the video, since the one it was opened with ends after a while; or nothing. */
export function stage({ renew }) {
  const [player, still, note, line, head, done, ticks] = [
    "player", "still", "still-note", "timeline", "head", "played", "ticks",
  ].map(byId);
  let frames = [];
  let stills = false; // the browser cannot play the file
  let known = 0; // duration that the server told
  let at = 0;
  let wanted = null; // where to go once the browser knows the file
  let played = false; // the link worked once

  const duration = () => (Number.isFinite(player.duration) && player.duration > 0 && !stills ? player.duration : known);

  const draw = () => {
    const whole = duration();
    const share = whole ? Math.min(1, at / whole) : 0;
    head.style.left = done.style.width = `${share * 100}%`;
    byId("now").textContent = clock(at);
    byId("end").textContent = whole ? `/ ${clock(whole)}` : "";
    line.setAttribute("aria-valuemax", whole.toFixed(1));
    line.setAttribute("aria-valuenow", at.toFixed(1));
    line.setAttribute("aria-valuetext", `${clock(at)} of ${clock(whole)}`);
  };

  const drawTicks = () => {
    const whole = duration();
    const most = Math.max(...frames.map((frame) => frame.score), 1e-9);
    ticks.replaceChildren(
      ...(whole ? frames : []).map((frame, place) => {
        const tick = make("i", { className: "tick", data: { place } });
        tick.style.left = `${Math.min(1, frame.time / whole) * 100}%`;
        tick.style.setProperty("--score", (0.35 + 0.65 * (frame.score / most)).toFixed(3));
        return tick;
      }),
    );
    draw();
  };

  const nearest = (seconds) =>
    frames.reduce((best, frame) => (Math.abs(frame.time - seconds) < Math.abs(best.time - seconds) ? frame : best), frames[0]);

  const seek = (seconds) => {
    at = Math.max(0, Math.min(seconds, duration() || seconds));
    if (stills) showStill();
    else if (player.readyState >= 1) player.currentTime = at;
    else wanted = at;
    draw();
  };

  const showStill = () => {
    const frame = frames.length ? nearest(at) : null;
    show(still, frame !== null);
    if (!frame) return;
    at = frame.time;
    still.src = frame.url;
    still.alt = `Frame at ${clock(frame.time, true)}`;
  };

  player.addEventListener("loadedmetadata", () => {
    // A file whose picture the browser cannot decode loads all the same, as sound.
    if (player.videoWidth === 0) return fallBack();
    played = true;
    drawTicks();
    if (wanted !== null) seek(wanted);
    wanted = null;
  });
  player.addEventListener("timeupdate", () => {
    if (stills || wanted !== null) return;
    at = player.currentTime;
    draw();
  });
  player.addEventListener("error", async () => {
    if (!player.hasAttribute("src")) return;
    const url = played ? await renew() : null;
    if (!url) return fallBack();
    [played, wanted] = [false, at];
    player.src = url;
  });

  function fallBack() {
    stills = true;
    show(player, false);
    show(note);
    note.textContent = "This browser cannot play this file, but the server can read it: ask, and the chosen frames are shown here.";
    showStill();
    drawTicks();
  }

  controls(player);
  peek(line, () => frames, duration);
  keys(line, () => at, () => frames, duration, seek);
  return {
    seek,
    /** Show another video, from its beginning. */
    open(url, seconds = 0) {
      [frames, stills, known, at, wanted, played] = [[], false, seconds || 0, 0, null, false];
      show(player);
      show(still, false);
      show(note, false);
      if (url) player.src = url;
      else player.removeAttribute("src");
      player.load();
      drawTicks();
    },
    /** Put the frames of an answer on the time line. */
    mark(chosen, seconds) {
      frames = chosen;
      known = seconds || known || Math.max(0, ...chosen.map((frame) => frame.time));
      if (stills) showStill();
      drawTicks();
    },
    /** Point at one frame's tick. */
    point(place) {
      for (const tick of ticks.children) tick.classList.toggle("pointed", tick.dataset.place === String(place));
    },
    close() {
      player.pause();
      player.removeAttribute("src");
      player.load();
    },
  };
}

function keys(line, at, frames, duration, seek) {
  const byPointer = (event) => {
    const box = line.getBoundingClientRect();
    if (duration()) seek(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * duration());
  };
  line.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    line.setPointerCapture(event.pointerId);
    byPointer(event);
  });
  line.addEventListener("pointermove", (event) => line.hasPointerCapture(event.pointerId) && byPointer(event));
  line.addEventListener("keydown", (event) => {
    const times = frames().map((frame) => frame.time);
    const to = {
      ArrowRight: at() + STEP,
      ArrowUp: at() + STEP,
      ArrowLeft: at() - STEP,
      ArrowDown: at() - STEP,
      Home: 0,
      End: duration(),
      PageUp: times.find((time) => time > at() + 0.05),
      PageDown: times.findLast((time) => time < at() - 0.05),
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    seek(to);
  });
}
