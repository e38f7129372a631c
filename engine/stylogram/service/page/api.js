// The server's routes: JSON, pictures as object URLs, and events. The key stays in this tab.

const KEY = "stylogram-key";
let key = sessionStorage.getItem(KEY) || "";

export class Refused extends Error {
  constructor(status, message, after) {
    super(message);
    this.status = status;
    this.after = after;
  }
}

async function askForKey() {
  const dialog = document.getElementById("key-dialog");
  const field = document.getElementById("key");
  field.value = "";
  if (!dialog.open) dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  key = field.value;
  sessionStorage.setItem(KEY, key);
}

let asking = null;

/** A response that is well; asks for the key where one is needed. */
export async function ask(path, options = {}) {
  for (;;) {
    const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    const answer = await fetch(path, { ...options, headers });
    if (answer.ok) return answer;
    if (answer.status === 401) {
      asking ??= askForKey().finally(() => { asking = null; });
      await asking;
      continue;
    }
    const said = await answer.json().catch(() => ({}));
    throw new Refused(answer.status, said.error || `the server answers ${answer.status}`, answer.headers.get("Retry-After"));
  }
}

export const json = async (path, options) => (await ask(path, options)).json();

/** A picture as an object URL, which the caller gives back; null where there is none. */
export async function picture(path) {
  try {
    return URL.createObjectURL(await (await ask(path)).blob());
  } catch (problem) {
    if (problem instanceof Refused && (problem.status === 404 || problem.status === 409)) return null;
    throw problem;
  }
}

/** The events of a job, until it ends or `signal` says so; a broken connection is taken up again. */
export async function listen(id, hear, signal) {
  let last = "";
  let wait = 500;
  while (!signal.aborted) {
    try {
      const headers = last ? { "Last-Event-ID": last } : {};
      const answer = await ask(`v1/jobs/${id}/events`, { signal, headers });
      let text = "";
      for await (const chunk of chunks(answer.body.pipeThrough(new TextDecoderStream()))) {
        wait = 500;
        const parts = (text + chunk).split("\n\n");
        text = parts.pop();
        for (const part of parts) {
          const fields = Object.fromEntries(part.split("\n").map((line) => line.split(/: (.*)/s)));
          last = fields.id || last;
          if (!fields.event) continue;
          hear(fields.event, JSON.parse(fields.data));
          if (fields.event === "end" || fields.event === "removed") return;
        }
      }
    } catch (problem) {
      if (signal.aborted) return;
      if (problem instanceof Refused && problem.status === 404) return hear("removed", {});
    }
    await new Promise((done) => setTimeout(done, wait));
    wait = Math.min(2 * wait, 8000);
  }
}

async function* chunks(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.releaseLock();
  }
}
