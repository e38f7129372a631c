"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main");

/** An element with attributes (on... are listeners) and children: nodes, or text that is never read as HTML. */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter(child => child !== null && child !== undefined));
  return made;
}

const address = path => path.split("/").map(encodeURIComponent).join("/");
const number = value => value === null ? "–" : String(Number(Number(value).toPrecision(4)));

/** A table; a cell is text or {text, class}; columns in `texts` are flush left. */
function table(head, rows, texts = []) {
  const side = index => texts.includes(index) ? "text" : undefined;
  const cell = (value, index) => value !== null && typeof value === "object"
    ? make("td", {class: [side(index), value.class].filter(Boolean).join(" ")}, value.text)
    : make("td", {class: side(index)}, String(value));
  return make("div", {class: "scroll"}, make("table", {},
    make("thead", {}, make("tr", {}, head.map((word, index) => make("th", {class: side(index), scope: "col"}, word)))),
    make("tbody", {}, rows.map(row => make("tr", {}, row.map(cell))))));
}

/** What was skipped, and the notes of the run. */
function remarks() {
  const parts = data.notes.map(note => make("p", {class: "soft"}, note));
  if (data.skipped.length) {
    parts.push(make("details", {id: "skipped"},
      make("summary", {}, `${data.skipped.length} ${data.skipped.length === 1 ? "file was" : "files were"} skipped`),
      table(["picture", "reason"], data.skipped.map(row => [row.picture, row.reason]), [0, 1])));
  }
  return parts;
}
