const COLOURS = ["#2b6cb0", "#d9822b", "#2f9e5b", "#b8417f", "#7a5bd0", "#3aa6a6", "#b0492b", "#7d8597"];
const SVG = "http://www.w3.org/2000/svg";

function draw(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Lines over 0 ... count-1; `lines`: {colour, values} with null for a gap; `ticks`: words below, by place. */
function chart(title, lines, count, top, ticks, dots) {
  const [width, height, left, right, bottom] = [340, 190, 50, 24, 34];
  const x = at => left + (width - left - right) * (count > 1 ? at / (count - 1) : 0.5);
  const y = value => height - bottom - (height - bottom - 26) * value / top;
  const made = draw("svg", {width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title});
  made.append(draw("text", {x: left, y: 14, "font-weight": 600}, title));
  for (const share of [0, 0.5, 1]) {
    made.append(draw("line", {class: share ? "grid" : "axis", x1: left, x2: width - right, y1: y(share * top), y2: y(share * top)}));
    made.append(draw("text", {x: left - 5, y: y(share * top) + 4, "text-anchor": "end"}, dots ? number(share * top) : `${number(100 * share * top)}%`));
  }
  for (const [at, word] of ticks) made.append(draw("text", {x: x(at), y: height - bottom + 15, "text-anchor": "middle"}, word));
  for (const {colour, values} of lines) {
    let path = "", pen = "M";
    values.forEach((value, at) => {
      if (value === null) { pen = "M"; return; }
      path += `${pen}${x(at).toFixed(1)} ${y(Math.max(0, value)).toFixed(1)}`;
      pen = "L";
      if (dots) made.append(draw("circle", {cx: x(at), cy: y(Math.max(0, value)), r: 2.5, fill: colour}));
    });
    made.append(draw("path", {d: path, fill: "none", stroke: colour, "stroke-width": 1.6}));
  }
  return made;
}

function legend() {
  return make("p", {}, data.networks.map((one, index) =>
    make("span", {style: `color:${COLOURS[index % COLOURS.length]};margin-right:1.2rem`}, `■ ${one.label}`)));
}

const layerNames = [...new Set(data.networks.flatMap(one => one.layers.map(layer => layer.name)))];
const layerOf = (network, name) => network.layers.find(layer => layer.name === name);

function filters() {
  const shown = data.networks.filter(one => one.filters);
  if (!shown.length) return [];
  return [make("h2", {id: "filters"}, "First-layer filters"),
    make("p", {class: "soft"}, "Each filter has a contrast of its own; grey is zero."),
    make("div", {class: "filters wide"}, shown.map(one => make("figure", {},
      make("img", {src: address(one.filters.picture), loading: "lazy", width: one.filters.size[0], height: one.filters.size[1],
        alt: `first-layer filters of ${one.label}`}),
      make("figcaption", {}, `${one.label}: ${one.filters.label}`))))];
}

function dead() {
  const cell = layer => {
    if (!layer) return "–";
    const [gone, rare] = [layer.dead.length, layer.nearly_dead.length];
    return {text: `${gone} + ${rare} of ${layer.units}`, class: gone ? "far" : rare ? "near" : ""};
  };
  return [make("h2", {id: "dead"}, "Dead and nearly dead filters"),
    make("p", {class: "soft"}, `Dead: never above 0 on any of ${data.pictures} pictures. Nearly dead: above 0 on under 1% of them.`),
    table(["layer", ...data.networks.map(one => one.label)],
      layerNames.map(name => [name, ...data.networks.map(one => cell(layerOf(one, name)))]))];
}

function histograms() {
  const {low, high, fine} = data.bins;
  const bins = (high - low) * fine;
  const ofLayer = name => {
    const known = data.networks.map((one, index) => ({layer: layerOf(one, name), colour: COLOURS[index % COLOURS.length]}))
      .filter(one => one.layer);
    const filled = known.flatMap(one => one.layer.histogram.map((share, at) => share ? at : -1)).filter(at => at >= 0);
    if (!filled.length) return null;
    const [first, last] = [Math.max(0, Math.min(...filled) - 1), Math.min(bins - 1, Math.max(...filled) + 1)];
    const lines = known.map(one => ({colour: one.colour, values: one.layer.histogram.slice(first, last + 1)}));
    const top = Math.max(...lines.flatMap(line => line.values));
    const octaves = [first, Math.round((first + last) / 2), last].map(at => [at - first, `2^${low + at / fine}`]);
    const zeros = known.map(one => `${(100 * one.layer.zeros).toFixed(0)}%`).join(", ");
    return make("figure", {}, chart(name, lines, last - first + 1, top, octaves, false),
      make("figcaption", {}, `exactly 0: ${zeros}`));
  };
  return [make("h2", {id: "histograms"}, "Activations"),
    make("p", {class: "soft"}, "The share of activations above 0 by size, two bins to an octave, at 64 positions of each layer."),
    legend(), make("div", {class: "charts"}, layerNames.map(ofLayer).filter(Boolean))];
}

function evolution() {
  const {checkpoints, layers, bound} = data.evolution;
  const ticks = [[0, "1"], [checkpoints.length - 1, String(checkpoints.length)]];
  const lines = layers.map((layer, index) => chart(layer.name, [{colour: COLOURS[0], values: [...layer.with_last, 1]}],
    checkpoints.length, 1, ticks, true));
  const value = one => one === null ? "–" : one.toFixed(3);
  const list = make("div", {id: "strips"});
  const state = {layer: 0, find: ""};
  const show = () => {
    const layer = layers[state.layer];
    const wanted = state.find.trim();
    const units = layer.units.filter(unit => !wanted || wanted.split(",").some(part => Number(part) === unit));
    list.replaceChildren(...units.map(unit => make("figure", {class: "wide", "data-unit": unit},
      make("h3", {}, `unit ${unit}`),
      make("img", {src: address(`${layer.folder}/${String(unit).padStart(4, "0")}.jpg`), loading: "lazy",
        width: layer.size[0], height: layer.size[1], alt: `unit ${unit} of ${layer.name} at each checkpoint`}))));
  };
  show();
  return [make("h2", {id: "evolution"}, "Evolution"),
    make("p", {}, "How a layer's units correlate with those of the last checkpoint, over pictures and positions, averaged " +
      `over units. A layer has settled at the first checkpoint from which on that is ${bound} or more.`),
    make("div", {class: "charts"}, lines),
    table(["layer", "settled at", ...checkpoints.slice(0, -1).map(name => `${name} with the last`)],
      layers.map(layer => [layer.name, layer.settled < checkpoints.length - 1 ? checkpoints[layer.settled] : "the last",
        ...layer.with_last.map(value)]), [1]),
    make("h3", {}, `Each unit's strongest picture at ${checkpoints.join(", ")}`),
    make("p", {class: "soft"}, `Above the projection (${data.rule}), below the patch; white where the unit never fires.`),
    make("div", {class: "bar"},
      make("label", {}, "layer", make("select", {id: "layer", onchange: event => { state.layer = Number(event.target.value); show(); }},
        layers.map((layer, index) => make("option", {value: index}, layer.name)))),
      make("label", {}, "unit", make("input", {id: "find", type: "search", size: 12, placeholder: "7, 12",
        oninput: event => { state.find = event.target.value; show(); }}))),
    list];
}

main.append(
  make("h1", {}, data.networks.map(one => one.label).join(" · ")),
  make("p", {}, `${data.networks.length} networks on the same ${data.pictures} pictures.`),
  ...remarks(), ...filters(), ...dead(), ...histograms(), ...(data.evolution ? evolution() : []));
