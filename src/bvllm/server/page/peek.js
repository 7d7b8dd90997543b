// Show a chosen frame above its tick while the mouse is near; what it says is in the list of frames, too.

import { byId, show } from "./dom.js";
import { clock } from "./words.js";

const NEAR = 12; // pixels

/** `frames` and `duration` give what is on the time line now. */
export function peek(line, frames, duration) {
  const [box, picture, words] = ["peek", "peek-picture", "peek-words"].map(byId);
  const hide = () => show(box, false);
  line.addEventListener("pointerleave", hide);
  line.addEventListener("pointermove", (event) => {
    const place = line.getBoundingClientRect();
    const away = (frame) => Math.abs((frame.time / duration()) * place.width - (event.clientX - place.left));
    const near = duration() ? frames().filter((frame) => away(frame) < NEAR) : [];
    if (event.pointerType !== "mouse" || near.length === 0) return hide();
    const frame = near.reduce((best, other) => (away(other) < away(best) ? other : best));
    if (picture.getAttribute("src") !== frame.url) picture.src = frame.url;
    words.textContent = clock(frame.time, true);
    box.style.left = `${(100 * frame.time) / duration()}%`;
    show(box);
  });
}
