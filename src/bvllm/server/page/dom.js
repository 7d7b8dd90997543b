// Find and make elements. Text enters as text nodes only, so that nothing a person, a file or a model
// writes is ever read as markup.

export const byId = (id) => {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html must hold #${id}`);
  return found;
};

/** An element: properties are set as properties, `data` and `aria` as attributes, children appended as text or nodes. */
export function make(tag, { data = {}, aria = {}, ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  for (const [name, value] of Object.entries(data)) element.dataset[name] = value;
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const show = (element, shown = true) => {
  element.hidden = !shown;
};

/** Say something to a screen reader; the same words twice are said twice. */
export function announce(words) {
  const place = byId("said");
  place.textContent = place.textContent === words ? `${words}\u00a0` : words;
}
