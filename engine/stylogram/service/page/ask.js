// The form: pictures, task, network, a few sliders, and every other option of the task.

import { ask, json } from "./api.js";

const at = (id) => document.getElementById(id);
const CALLED = { content: "Photo", style: "Style", image: "Picture", source: "Texture", init: "Start from", guide: "Guide",
  content_mask: "Masks of the photo", style_mask: "Masks of the styles" };
const EXAMPLES = { content: "example-coffee.jpg", style: "example-strokes.jpg", source: "example-strokes.jpg",
  image: "example-cat.jpg" };
const LABELS = { keep_colors: "Keep the photo's colours", class_: "Class" };
const TASKS = { stylize: "Photo in the style of a painting", texture: "Texture", dream: "Dream", maximize: "What a unit likes",
  reconstruct: "Reconstruction from a layer", saliency: "Saliency", occlusion: "Occlusion" };

// Sliders: the option, its words, from, to, step, where it begins, and what its value is called and sent as.
const SLIDERS = [
  { name: "size", label: "Size", min: 64, max: 1024, step: 16, value: 384, say: (v) => `${v} px` },
  { name: "iterations", label: "Iterations", min: 5, max: 500, step: 5, value: 150, of: { dream: 10 }, say: (v) => `${v}` },
  { name: "style_weight", label: "Style strength", min: -3, max: 3, step: 0.5, value: 0, unsent: 0,
    say: (v) => (Number(v) ? `× ${(2 ** v).toPrecision(2)}` : "the network's own") },
  { name: "style_scale", label: "Stroke size", min: 0.5, max: 2, step: 0.1, value: 1, unsent: 1, say: (v) => `× ${v}` },
];
const PLAIN = ["layer", "unit", "keep_colors"];  // shown at once where a task has them

export class Form {
  #tasks = new Map();
  #networks = new Map();
  #files = new Map();

  constructor(sent) {
    this.sent = sent;
    at("task").addEventListener("change", () => this.#chosen());
    at("take-examples").addEventListener("click", () => this.#examples());
    at("ask").addEventListener("submit", (event) => { event.preventDefault(); this.#send(); });
    for (const kind of ["dragover", "drop", "dragleave"]) addEventListener(kind, (event) => this.#dragged(event));
  }

  async begin() {
    const [{ tasks, limits }, { networks }] = await Promise.all([json("v1/tasks"), json("v1/networks")]);
    this.limits = limits;
    for (const task of tasks) this.#tasks.set(task.name, task);
    for (const network of networks) this.#networks.set(network.name, network);
    at("task").replaceChildren(...tasks.map((task) => new Option(TASKS[task.name] || task.name, task.name)));
    at("network").replaceChildren(...networks.map((network) => {
      const made = new Option(network.available ? network.name : `${network.name} (not fetched)`, network.name);
      made.disabled = !network.available;
      made.title = network.description;
      made.selected = network.default;
      return made;
    }));
    this.#chosen();
  }

  get #task() { return this.#tasks.get(at("task").value); }

  #chosen() {
    const task = this.#task;
    at("task-help").textContent = task.description[0].toUpperCase() + task.description.slice(1);
    const needed = task.pictures.filter((field) => field.required);
    at("drops").replaceChildren(...needed.map((field) => this.#drop(field)));
    at("examples").hidden = !needed.length;
    const names = new Set(task.options.map((option) => option.name));
    const sliders = SLIDERS.filter((slider) => names.has(slider.name));
    const plain = task.options.filter((option) => PLAIN.includes(option.name));
    at("sliders").replaceChildren(...sliders.map((slider) => this.#slider(slider)), ...plain.map(field));
    const shown = new Set(["network", "init", ...PLAIN, ...sliders.map((slider) => slider.name)]);
    const optional = task.pictures.filter((field) => !field.required).map(upload);
    at("options").replaceChildren(...optional, ...task.options.filter((option) => !shown.has(option.name)).map(field));
    at("problem").textContent = "";
  }

  #drop({ name, several }) {
    const box = element("div", { className: "drop" });
    const input = element("input", { type: "file", id: `file-${name}`, accept: "image/*", multiple: several });
    const label = element("label", { htmlFor: input.id });
    label.append(CALLED[name] || name, element("small", { textContent: several ? "one or several" : "drop or choose" }));
    input.addEventListener("change", () => input.files.length && this.#take(name, [...input.files]));
    box.append(label, input);
    box.dataset.field = name;
    queueMicrotask(() => this.#shown(name));
    return box;
  }

  #take(name, files) {
    this.#files.set(name, files);
    this.#shown(name);
    at("problem").textContent = "";
  }

  #shown(name) {
    const box = document.querySelector(`.drop[data-field="${name}"]`);
    const files = this.#files.get(name);
    if (!box || !files) return;
    for (const old of box.querySelectorAll("img, .name")) old.remove();
    const image = element("img", { alt: "" });
    image.addEventListener("load", () => URL.revokeObjectURL(image.src));
    image.addEventListener("error", () => image.remove());  // TIFF, or no picture: the server will say
    image.src = URL.createObjectURL(files[0]);
    const more = files.length > 1 ? ` and ${files.length - 1} more` : "";
    box.append(image, element("span", { className: "name", textContent: files[0].name + more }));
    box.classList.add("filled");
  }

  #dragged(event) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.toggle("dragging", event.type === "dragover");
    if (event.type !== "drop") return;
    const files = [...event.dataTransfer.files];
    const over = event.target.closest?.(".drop")?.dataset.field;
    if (over) return this.#take(over, files);
    const fields = this.#task.pictures.filter((field) => field.required).map((field) => field.name);
    const empty = fields.filter((name) => !this.#files.has(name));
    files.forEach((file, index) => this.#take((empty.length ? empty : fields)[index] ?? fields.at(-1), [file]));
  }

  async #examples() {
    for (const { name, required } of this.#task.pictures) {
      if (!required || !EXAMPLES[name]) continue;
      const data = await (await ask(`page/${EXAMPLES[name]}`)).blob();
      this.#take(name, [new File([data], EXAMPLES[name], { type: data.type })]);
    }
  }

  #slider({ name, label, min, max, step, value, of = {}, say }) {
    const most = name === "size" ? Math.min(max, this.limits.size) : max;
    const input = element("input", { type: "range", id: `slider-${name}`, min, max: most, step });
    input.value = Math.min(of[at("task").value] ?? value, most);
    const output = element("output", { htmlFor: input.id });
    const said = () => {
      output.textContent = say(input.value);
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", said);
    said();
    const row = element("div", { className: "row" });
    row.append(element("label", { htmlFor: input.id, textContent: label }), output);
    const box = element("div", { className: "field" });
    box.append(row, input);
    return box;
  }

  #values() {
    const body = new FormData();
    const task = this.#task;
    body.append("task", task.name);
    body.append("network", at("network").value);
    const own = this.#networks.get(at("network").value).style_weight;
    for (const { name, unsent } of SLIDERS) {
      const input = at(`slider-${name}`);
      if (!input || Number(input.value) === unsent) continue;
      if (name === "style_weight" && own === null) continue;
      body.append(name, name === "style_weight" ? own * 2 ** input.value : input.value);
    }
    for (const input of at("ask").querySelectorAll("[data-option]")) {
      const value = input.type === "checkbox" ? (input.checked ? "true" : "") : input.value.trim();
      if (value) body.append(input.dataset.option, value);
    }
    for (const { name, required } of task.pictures) {
      const files = required ? this.#files.get(name) || [] : at(`upload-${name}`).files;
      for (const file of files) body.append(name, file);
    }
    return body;
  }

  async #send() {
    const missing = this.#task.pictures.find((field) => field.required && !this.#files.has(field.name));
    if (missing) {
      at("problem").textContent = `${CALLED[missing.name] || missing.name}: choose a picture, or take the examples.`;
      return at(`file-${missing.name}`).focus();
    }
    at("go").disabled = true;
    at("problem").textContent = "";
    try {
      this.sent(await json("v1/jobs", { method: "POST", body: this.#values() }));
    } catch (problem) {
      at("problem").textContent = problem.message;
    } finally {
      at("go").disabled = false;
    }
  }
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

/** A field of any option: what is left empty is not sent. */
function field({ name, description, choices, values, default: own }) {
  const box = element("div", { className: "field" });
  const id = `option-${name}`;
  let input;
  if (choices.length) {
    input = element("select", {});
    input.append(new Option(own === null ? "default" : `${own} (default)`, ""), ...choices.map((word) => new Option(word, word)));
  } else if (typeof own === "boolean") {
    input = element("input", { type: "checkbox" });
  } else {
    input = element("input", { type: "text", placeholder: own === null ? values || "" : String(own) });
  }
  input.id = id;
  input.dataset.option = name;
  const help = element("p", { className: "soft", id: `${id}-help`, textContent: description });
  if (description) input.setAttribute("aria-describedby", help.id);
  const words = LABELS[name] || name[0].toUpperCase() + name.slice(1).replaceAll("_", " ").trim();
  box.append(element("label", { htmlFor: id, textContent: words }), input);
  if (description) box.append(help);
  return box;
}

function upload({ name, several }) {
  const box = element("div", { className: "field" });
  const input = element("input", { type: "file", id: `upload-${name}`, accept: "image/*", multiple: several });
  box.append(element("label", { htmlFor: input.id, textContent: CALLED[name] || name }), input);
  return box;
}
