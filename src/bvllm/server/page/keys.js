// Ask for the API key where the server wants one.

import { key } from "./api.js";
import { byId, show } from "./dom.js";

/** Open the dialog with what is wrong, if anything; `then` runs once a key was typed. */
export function keyDialog(then) {
  const dialog = byId("key-dialog");
  const ask = (wrong = "") => {
    byId("key-note").textContent = wrong;
    if (!dialog.open) dialog.showModal();
    byId("key").focus();
  };
  byId("key-form").addEventListener("submit", () => {
    key.set(byId("key").value.trim());
    byId("key").value = "";
    show(byId("key-button"));
    then();
  });
  byId("key-cancel").addEventListener("click", () => dialog.close());
  byId("key-button").addEventListener("click", () => ask());
  show(byId("key-button"), key.get() !== "");
  return { ask };
}
