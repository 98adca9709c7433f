// What a person changed.  A draft of a film holds what its points start from and how they differ from that:
// { from: "reference" | "prediction", model, edits: { symbol: [x, y] | null (missing) }, reviewed }
// Drafts outlive a reload in localStorage where the browser keeps it for pages from disk; only a saved file outlives the browser.
const storageKey = `ceph-viewer:${run.id}`;
const drafts = new Map(); // by film id
const inFile = new Map(); // by film id: the draft as the last file has it, as JSON
const steps = { done: [], undone: [] };
let storageWorks = true;
let lastFile = "";

function draftOf(film) {
  return drafts.get(film.id) ?? null;
}

/** What a correction of the film begins with now: its draft's choice, or the page's. */
function baseOf(film) {
  const draft = draftOf(film);
  if (draft) return draft;
  const from = view.correct === "reference" && film.reference ? "reference" : "prediction";
  return { from, model: from === "reference" ? "" : modelOn(film), edits: {}, reviewed: false };
}

/** Where the point was before anybody moved it; a prediction outside the film counts as on its edge. */
function startOn(film, place) {
  const base = baseOf(film);
  const point = base.from === "reference" ? film.reference?.[place] : film.points[base.model]?.[place];
  return point ? within(film, point) : null;
}

function pointOn(film, place) {
  const { edits } = baseOf(film);
  const symbol = landmarks[place].symbol;
  return Object.hasOwn(edits, symbol) ? edits[symbol] : startOn(film, place);
}

function isEdited(film, place) {
  const draft = draftOf(film);
  return draft !== null && Object.hasOwn(draft.edits, landmarks[place].symbol);
}

function numEdits(film) {
  return Object.keys(draftOf(film)?.edits ?? {}).length;
}

/** The draft with a point at a place, or missing (null); a point back at its start is no edit. */
function withPoint(film, place, point) {
  const base = baseOf(film);
  const edits = { ...base.edits };
  const start = startOn(film, place);
  const isBack = start === null ? point === null : point !== null && Math.hypot(point[0] - start[0], point[1] - start[1]) < 1e-6;
  if (isBack) delete edits[landmarks[place].symbol];
  else edits[landmarks[place].symbol] = point;
  return { ...base, edits };
}

/** A missing point comes back where it started, else where the model has it, else in the middle of the film. */
function placeToReturn(film, place) {
  const middle = [(film.width ?? 0) / 2, (film.height ?? 0) / 2];
  return startOn(film, place) ?? within(film, predictedOn(film, place) ?? middle);
}

/** Replace drafts, to be undone as one step.  Quick ones of the same series, as of a key held down, are one step. */
function change(replaced, series = "") {
  const before = [...replaced.keys()].map((id) => [id, frozen(drafts.get(id))]);
  for (const [id, draft] of replaced) put(id, draft);
  const after = [...replaced.keys()].map((id) => [id, frozen(drafts.get(id))]);
  const last = steps.done.at(-1);
  const now = performance.now();
  if (series && last?.series === series && now - last.at < 800) Object.assign(last, { after, at: now });
  else steps.done.push({ before, after, series, at: now });
  steps.undone.length = 0;
  keep();
}

/** One step back or forth; the id of a film it touched, null if there was none. */
function step(from, to, side) {
  const last = from.pop();
  if (!last) return null;
  for (const [id, draft] of last[side]) put(id, draft === null ? null : JSON.parse(draft));
  to.push({ ...last, series: "" });
  keep();
  return last[side][0][0];
}

const undo = () => step(steps.done, steps.undone, "before");
const redo = () => step(steps.undone, steps.done, "after");

function put(id, draft) {
  if (draft && (draft.reviewed || Object.keys(draft.edits).length)) drafts.set(id, draft);
  else drafts.delete(id);
}

function frozen(draft) {
  return draft ? JSON.stringify(draft) : null;
}

/** Films whose draft is not what the last file has. */
function unsaved() {
  const ids = new Set([...drafts.keys(), ...inFile.keys()]);
  return [...ids].filter((id) => frozen(drafts.get(id)) !== (inFile.get(id) ?? null));
}

function markSaved(file, ids = null) {
  if (ids === null) inFile.clear();
  for (const id of ids ?? drafts.keys()) inFile.set(id, frozen(drafts.get(id)));
  lastFile = file;
  keep();
}

function keep() {
  try {
    localStorage.setItem(storageKey, JSON.stringify({ drafts: [...drafts], inFile: [...inFile], lastFile }));
    storageWorks = true;
  } catch {
    storageWorks = false; // switched off, or full: the page says so
  }
}

/** Take what this browser kept; drafts of films that the run no longer shows stay kept, unseen. */
function recall() {
  try {
    const kept = JSON.parse(localStorage.getItem(storageKey) ?? "null");
    drafts.clear();
    inFile.clear();
    for (const [id, draft] of kept?.drafts ?? []) drafts.set(id, draft);
    for (const [id, draft] of kept?.inFile ?? []) inFile.set(id, draft);
    lastFile = kept?.lastFile ?? "";
    keep();
  } catch {
    storageWorks = false;
  }
}
