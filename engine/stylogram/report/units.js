const view = {layer: 0, show: "both", order: "unit", find: ""};
const cards = make("div", {class: "cards both", id: "cards"});
const count = make("span", {id: "count", "aria-live": "polite"});
const dialog = make("dialog", {id: "unit"});
let shown = [];

const layer = () => data.layers[view.layer];
const strongest = unit => unit.top.length ? unit.top[0].activation : -1;
const orders = {
  unit: (a, b) => a.unit - b.unit,
  activation: (a, b) => strongest(b) - strongest(a) || a.unit - b.unit,
  often: (a, b) => b.fired - a.fired || a.unit - b.unit,
  rarely: (a, b) => a.fired - b.fired || a.unit - b.unit,
};

/** Numbers and ranges (3, 5-9) are units; any other text is looked for in the names of the pictures. */
function matcher(text) {
  const query = text.trim().toLowerCase();
  if (!query) return () => true;
  if (/^\d+(\s*-\s*\d+)?(\s*,\s*\d+(\s*-\s*\d+)?)*$/.test(query)) {
    const ranges = query.split(",").map(part => part.split("-").map(Number));
    return unit => ranges.some(range => range[0] <= unit.unit && unit.unit <= range[range.length - 1]);
  }
  return unit => unit.top.some(entry => entry.picture.toLowerCase().includes(query));
}

function picture(unit, what) {
  const path = `${layer().folder}/${String(unit.unit).padStart(4, "0")}-${what}.jpg`;
  const [width, height] = unit.size;
  return make("img", {src: address(path), loading: "lazy", width, height,
    alt: `${what} of unit ${unit.unit} of ${layer().name}`});
}

function pair(unit, what) {
  if (!unit.top.length) return make("div", {class: "empty"}, "never above 0 on these pictures");
  const kinds = what === "both" ? ["projections", "patches"] : [what];
  return make("div", {class: "pair"}, kinds.map(kind => picture(unit, kind)));
}

function fired(unit) {
  return `above 0 on ${unit.fired} of ${data.pictures}`;
}

function card(unit) {
  const best = unit.top.length ? `, at most ${number(strongest(unit))}` : "";
  return make("button", {class: "card", "data-unit": unit.unit, onclick: () => open(unit)},
    make("span", {class: "name"}, `unit ${unit.unit}`), pair(unit, view.show),
    make("span", {class: "soft"}, fired(unit) + best));
}

function draw() {
  shown = layer().units.filter(matcher(view.find)).sort(orders[view.order]);
  cards.className = `cards ${view.show === "both" ? "both" : ""}`;
  cards.replaceChildren(...shown.map(card));
  count.textContent = `${shown.length} of ${layer().units.length} units`;
}

function step(unit, by) {
  const at = shown.indexOf(unit) + by;
  if (at >= 0 && at < shown.length) open(shown[at]);
}

function open(unit) {
  const rows = unit.top.map((entry, index) => [
    String(index + 1), entry.picture, number(entry.activation), entry.at ? entry.at.join(", ") : "–", entry.box.join(", ")]);
  dialog.replaceChildren(
    make("div", {class: "head"}, make("h2", {}, `${layer().name}, unit ${unit.unit}`),
      make("button", {onclick: () => step(unit, -1), "aria-label": "the unit before"}, "←"),
      make("button", {onclick: () => step(unit, 1), "aria-label": "the next unit"}, "→"),
      make("button", {id: "close", onclick: () => dialog.close()}, "close")),
    make("p", {class: "soft"}, fired(unit)),
    unit.top.length
      ? make("div", {class: "pair"}, ["projections", "patches"].map(what =>
          make("figure", {}, picture(unit, what), make("figcaption", {}, `${what}, the strongest first`))))
      : pair(unit, "both"),
    table(["", "picture", "activation", "row, column", "top, left, height, width in pixels"], rows, [1]));
  dialog.onkeydown = event => {
    if (event.key === "ArrowLeft") step(unit, -1);
    if (event.key === "ArrowRight") step(unit, 1);
  };
  if (!dialog.open) dialog.showModal();
  history.replaceState(null, "", `#${encodeURIComponent(layer().name)}/${unit.unit}`);
}

function choice(id, label, options, change) {
  return make("label", {}, label, make("select", {id, onchange: event => { change(event.target.value); draw(); }},
    options.map(([value, text]) => make("option", {value}, text))));
}

dialog.addEventListener("close", () => history.replaceState(null, "", location.pathname));
main.append(
  make("h1", {}, `${data.network}: what its units see`),
  make("p", {}, `For each unit the ${data.top} pictures out of ${data.pictures} on which it is strongest, one place a ` +
    `picture: the patch that the unit sees, and what of it the ${data.rule} rule carries back to the pixels. ` +
    "Grey is zero; each projection has a contrast of its own."),
  ...remarks(),
  make("div", {class: "bar"},
    choice("layer", "layer", data.layers.map((one, index) => [index, one.name]), value => { view.layer = Number(value); }),
    make("label", {}, "find", make("input", {id: "find", type: "search", size: 22, placeholder: "7, 12-20, or a picture",
      oninput: event => { view.find = event.target.value; draw(); }})),
    choice("show", "show", [["both", "both"], ["projections", "projections"], ["patches", "patches"]],
      value => { view.show = value; }),
    choice("order", "by", [["unit", "number"], ["activation", "strongest"], ["often", "most pictures"],
      ["rarely", "fewest pictures"]], value => { view.order = value; }),
    count),
  cards, dialog);
draw();

/** index.html#fire5/12 opens that unit. */
const wanted = /^#(.+)\/(\d+)$/.exec(location.hash);
if (wanted) {
  const at = data.layers.findIndex(one => one.name === decodeURIComponent(wanted[1]));
  if (at >= 0) {
    view.layer = at;
    document.getElementById("layer").value = at;
    draw();
    const unit = shown.find(one => one.unit === Number(wanted[2]));
    if (unit) open(unit);
  }
}
