// The picture of one job: as it forms, beside the original, with its losses.

import { ask, json, listen, picture, Refused } from "./api.js";

const at = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

export class Stage {
  #job = null;
  #rows = [];
  #off = new AbortController();
  #urls = new Map();
  #drawn = 0;

  constructor(changed) {
    this.changed = changed;
    at("wipe").addEventListener("input", () => this.#wipe());
    at("cancel").addEventListener("click", () => this.#delete());
    at("remove").addEventListener("click", () => this.#delete());
    at("view").addEventListener("pointerdown", (event) => this.#drag(event));
    at("view").addEventListener("pointermove", (event) => event.buttons && this.#drag(event));
    for (const id of ["after", "before"]) at(id).addEventListener("load", () => this.#fit());
    addEventListener("resize", () => this.#fit());
  }

  get id() { return this.#job?.id; }

  /** Show a job, and follow it while it runs. */
  show(job) {
    this.#off.abort();
    this.#off = new AbortController();
    this.#rows = [];
    this.#drawn = 0;
    for (const id of ["after", "before"]) this.#image(id, null);
    at("wipe").value = 0;
    at("download").hidden = true;
    at("notes").replaceChildren();
    document.body.classList.add("showing");
    at("below").hidden = false;
    at("empty").hidden = false;
    at("view").style.removeProperty("--aspect");
    at("view").style.removeProperty("--width");
    this.#said(job);
    listen(job.id, (event, data) => this.#hear(job.id, event, data), this.#off.signal);
  }

  /** Show no job. */
  clear() {
    document.body.classList.remove("showing");
    this.#off.abort();
    this.#job = null;
    for (const id of ["after", "before"]) this.#image(id, null);
    for (const id of ["below", "compare", "seam"]) at(id).hidden = true;
    at("empty").hidden = false;
    at("empty").textContent = "Drop a photo and a painting anywhere on this page.";
    at("view").dataset.state = "empty";
  }

  #hear(id, event, data) {
    if (id !== this.id) return;
    if (event === "state") this.#said(data);
    else if (event === "progress") this.#progress(data);
    else if (event === "preview") this.#preview(data.picture);
    else if (event === "removed") this.clear();
    else if (event === "end") this.#draw(true);
  }

  #said(job) {
    const before = this.#job?.id === job.id ? this.#job.state : null;
    this.#job = job;
    at("view").dataset.state = job.state;
    const running = job.state === "queued" || job.state === "running";
    at("cancel").hidden = !running;
    at("remove").hidden = running;
    at("progress").hidden = !running;
    at("empty").textContent = { queued: "It waits for its turn.", running: "The first picture comes in a moment.",
      done: "", failed: "There is no picture.", cancelled: "It was cancelled before there was a picture." }[job.state];
    at("said").className = job.state === "failed" ? "bad" : "";
    const ended = { done: "Done", cancelled: "Cancelled", failed: `Failed: ${job.error}` }[job.state];
    if (job.state === "queued") at("said").textContent = `Waiting, ${job.position ? `${job.position} before it` : "next"}`;
    else if (!running) at("said").textContent = ended + this.#facts(job);
    const notes = job.notes.map((note) => Object.assign(document.createElement("li"), { textContent: note }));
    at("notes").replaceChildren(...notes);
    if (job.before && at("before").hidden) this.#original();
    if (!running && job.picture) this.#final();
    if (before && before !== job.state) this.changed(job);
  }

  #facts(job) {
    const size = job.size ? `, ${job.size[1]} × ${job.size[0]} pixels` : "";
    const seconds = job.started && job.finished ? `, ${(job.finished - job.started).toFixed(1)} s` : "";
    return job.state === "failed" ? "" : size + seconds;
  }

  #progress(row) {
    this.#rows.push(row);
    if (this.#job.state === "running" && row.iterations) {
      at("progress").value = (row.scale - 1 + row.iteration / row.iterations) / row.scales;
      const scale = row.scales > 1 ? `, size ${row.scale} of ${row.scales}` : "";
      at("said").textContent = `Iteration ${row.iteration} of ${row.iterations}${scale}, loss ${row.loss.toPrecision(4)}`;
    }
    this.#draw(false);
  }

  #preview(source) {
    if (at("download").hidden) this.#image("after", source, "The picture as it forms");
  }

  async #original() {
    const { id, before } = this.#job;
    const url = await picture(before.slice(1)).catch(() => null);
    if (id === this.id && url) this.#image("before", url, "The original");
  }

  async #final() {
    const { id, picture: path, format } = this.#job;
    const url = await picture(path.slice(1)).catch(() => null);
    if (id !== this.id || !url) return;
    const link = at("download");
    link.href = url;
    link.download = `stylogram-${id.slice(0, 8)}.${format}`;
    link.hidden = false;
    if (format !== "tiff") this.#image("after", url, "The picture that was made");  // no browser shows TIFF
  }

  /** The `src` of an image, the URL before given back. */
  #image(id, source, alt = "") {
    const old = this.#urls.get(id);
    if (old?.startsWith("blob:") && old !== source) setTimeout(() => URL.revokeObjectURL(old), 1000);
    const image = at(id);
    this.#urls.set(id, source);
    image.hidden = !source;
    image.alt = alt;
    if (source) image.src = source;
    else image.removeAttribute("src");
    if (source && id === "after") at("empty").hidden = true;
    at("compare").hidden = at("before").hidden || at("after").hidden;
    if (at("compare").hidden) at("wipe").value = 0;
    this.#wipe();
  }

  /** Both pictures cover the same place, however many pixels they have; small ones are enlarged. */
  #fit() {
    const image = at("after");
    if (!image.naturalWidth) return;
    const view = at("view");
    const [width, height] = [image.naturalWidth, image.naturalHeight];
    const most = Math.min(innerHeight * 0.74, 820);
    const shown = Math.min(view.clientWidth, (most * width) / height, Math.max(width, Math.min(2.2 * width, 900)));
    view.style.setProperty("--aspect", `${width} / ${height}`);
    view.style.setProperty("--width", `${shown}px`);
    this.#wipe();
  }

  #wipe() {
    const share = Number(at("wipe").value);
    at("view").style.setProperty("--wipe", `${share}%`);
    const [seam, image] = [at("seam"), at("after")];
    seam.hidden = at("compare").hidden || share === 0 || share === 100;
    seam.style.left = `${image.offsetLeft + (image.offsetWidth * share) / 100}px`;
    seam.style.top = `${image.offsetTop}px`;
    seam.style.height = `${image.offsetHeight}px`;
  }

  #drag(event) {
    if (at("compare").hidden) return;
    const box = at("after").getBoundingClientRect();
    at("wipe").value = (100 * (event.clientX - box.left)) / box.width;
    this.#wipe();
    event.preventDefault();
  }

  /** The losses, a curve for each size; at most a few times a second. */
  #draw(now) {
    const time = performance.now();
    if (!now && time - this.#drawn < 200) return;
    this.#drawn = time;
    const rows = this.#rows;
    const svg = at("losses");
    if (rows.length < 2) return svg.replaceChildren();
    const logarithmic = rows.every((row) => row.loss > 0);  // what is maximised has losses below 0
    const heights = rows.map((row) => (logarithmic ? Math.log10(row.loss) : row.loss));
    const [low, high] = heights.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
    const x = (index) => 44 + (270 * index) / (rows.length - 1);
    const y = (value) => 10 + (96 * (high - value)) / (high - low || 1);
    const parts = [];
    for (const value of [low, (low + high) / 2, high]) {
      parts.push(made("line", { class: "grid", x1: 44, x2: 314, y1: y(value), y2: y(value) }));
      parts.push(made("text", { x: 40, y: y(value) + 3, "text-anchor": "end" }, short(logarithmic ? 10 ** value : value)));
    }
    for (const scale of new Set(rows.map((row) => row.scale))) {
      const points = rows.flatMap((row, index) => (row.scale === scale ? [`${x(index)},${y(heights[index])}`] : []));
      parts.push(made("polyline", { class: "line", points: points.join(" ") }));
    }
    svg.replaceChildren(...parts);
    at("curve").querySelector("figcaption").textContent = `loss by iteration${logarithmic ? ", logarithmic" : ""}`;
    const words = `Loss by iteration: from ${rows[0].loss.toPrecision(3)} to ${rows.at(-1).loss.toPrecision(3)}`;
    svg.setAttribute("aria-label", `${words} in ${rows.length} rows`);
  }

  async #delete() {
    const { id } = this;
    const job = await json(`v1/jobs/${id}`, { method: "DELETE" }).catch((problem) => problem);
    if (job instanceof Refused) at("said").textContent = job.message;
    const there = await ask(`v1/jobs/${id}`).then(() => true, () => false);
    if (!there && id === this.id) this.clear();
    this.changed(job);
  }
}

/** Two digits, without an exponent where a person would write none. */
function short(value) {
  return value === 0 || (Math.abs(value) >= 0.001 && Math.abs(value) < 1e6) ? String(Number(value.toPrecision(2))) : value.toExponential(1);
}

function made(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
}
