// The page: the form, the picture, and the pictures so far.

import { json, picture } from "./api.js";
import { Form } from "./ask.js";
import { Stage } from "./stage.js";

const at = (id) => document.getElementById(id);
const shown = new Map();  // a job's thumbnail, by its id and state
let further = null;

const stage = new Stage(() => refresh());
const form = new Form((job) => {
  open(job);
  at("stage").focus({ preventScroll: true });
  refresh();
});

function open(job) {
  stage.show(job);
  history.replaceState(null, "", `#${job.id}`);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  at("stage").scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "nearest" });
  for (const button of at("jobs").querySelectorAll("button")) button.setAttribute("aria-current", button.dataset.id === job.id);
}

async function refresh(more = false) {
  try {
    const { jobs, next } = await json(`v1/jobs?limit=24${more && further ? `&before=${further}` : ""}`);
    const items = jobs.map(item);
    if (more) at("jobs").append(...items);
    else at("jobs").replaceChildren(...items);
    further = next;
    at("older").hidden = !next;
    at("history").hidden = !at("jobs").children.length;
    const busy = jobs.filter((job) => job.state === "queued" || job.state === "running").length;
    at("server").textContent = busy ? `${busy} in work` : "";
  } catch (problem) {
    at("server").textContent = problem.message;
  }
}

function item(job) {
  const button = Object.assign(document.createElement("button"), { type: "button" });
  button.dataset.id = job.id;
  button.setAttribute("aria-current", job.id === stage.id);
  const what = Object.assign(document.createElement("div"), { className: "what", textContent: job.task });
  const state = Object.assign(document.createElement("span"), { textContent: job.state });
  if (job.state === "failed") state.className = "bad";
  const time = new Date(job.created * 1000);
  what.append(state, Object.assign(document.createElement("span"), { textContent: time.toLocaleString([], { dateStyle: "short", timeStyle: "short" }) }));
  const none = Object.assign(document.createElement("div"), { className: "none" });
  button.append(none, what);
  thumbnail(job).then((url) => url && none.replaceWith(Object.assign(document.createElement("img"), { src: url, alt: "" })));
  button.addEventListener("click", () => json(`v1/jobs/${job.id}`).then(open, () => refresh()));
  const made = document.createElement("li");
  made.append(button);
  return made;
}

function thumbnail(job) {
  if (!job.picture) return Promise.resolve(null);
  if (!shown.has(job.id)) shown.set(job.id, picture(`v1/jobs/${job.id}/preview`).catch(() => null));
  return shown.get(job.id);
}

at("older").addEventListener("click", () => refresh(true));
addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask").requestSubmit();
});

await form.begin().catch((problem) => { at("problem").textContent = problem.message; });
await refresh();
const asked = location.hash.slice(1);
if (/^[0-9a-f]{32}$/.test(asked)) json(`v1/jobs/${asked}`).then(open, () => {});
