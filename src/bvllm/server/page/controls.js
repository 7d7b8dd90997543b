// The buttons of the player. Its own controls would bring a second time line, without the chosen frames.

import { byId, show } from "./dom.js";

export function controls(player) {
  const [play, mute, full] = ["play", "mute", "full"].map(byId);
  const toggle = () => (player.paused ? player.play().catch(() => {}) : player.pause());

  const draw = () => {
    const [playable, playing] = [!player.hidden && player.readyState >= 1, !player.paused];
    play.disabled = mute.disabled = full.disabled = !playable;
    play.classList.toggle("playing", playing);
    play.setAttribute("aria-label", playing ? "Pause" : "Play");
    mute.classList.toggle("muted", player.muted);
    mute.setAttribute("aria-pressed", String(!player.muted));
  };
  for (const event of ["play", "pause", "ended", "volumechange", "loadedmetadata", "emptied", "error"]) {
    player.addEventListener(event, draw);
  }

  play.addEventListener("click", toggle);
  player.addEventListener("click", toggle);
  mute.addEventListener("click", () => (player.muted = !player.muted));
  full.addEventListener("click", () => (player.requestFullscreen ?? player.webkitEnterFullscreen)?.call(player));
  show(full, Boolean(player.requestFullscreen ?? player.webkitEnterFullscreen));
  draw();
}
