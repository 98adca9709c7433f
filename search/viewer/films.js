// What the run recorded, and what is shown of it.  Points are [x, y] in original pixels, pixel centres on whole numbers; null: missing.
const { run, landmarks, models, films, ensemble, notes } = JSON.parse(document.getElementById("content").textContent);
const filmById = new Map(films.map((film) => [film.id, film]));
const placeOf = new Map(landmarks.map((landmark, place) => [landmark.symbol, place]));

const view = {
  film: null, // the one that is open
  model: models.find((model) => model.name === ensemble)?.name ?? models[0]?.name ?? "",
  correct: "reference", // what a film's correction starts from, where there is one: "reference" or "prediction"
  landmark: -1, // place of the only one shown; -1: all
  selected: -1, // place of the one that is looked at
  role: "", // of the films listed; "": all
  only: "", // "", "todo", "done" or "doubt"
  search: "",
  sort: "mean",
  tableByError: false,
  layers: { reference: true, prediction: true, labels: true, radius: false },
};

/** The model whose points are shown on a film: the chosen one, or the first by rank that has points there. */
function modelOn(film) {
  if (film.points[view.model]) return view.model;
  return models.find((model) => film.points[model.name])?.name ?? "";
}

function predictedOn(film, place) {
  return film.points[modelOn(film)]?.[place] ?? null;
}

/** Distance in mm, each axis by its own spacing; null where a point or the spacing is missing. */
function distanceMm(film, one, other) {
  if (!one || !other || !film.spacing_mm) return null;
  return Math.hypot((one[0] - other[0]) * film.spacing_mm[0], (one[1] - other[1]) * film.spacing_mm[1]);
}

/** The point that a model is measured against: the reference as corrected. */
function truthOn(film, place) {
  const draft = draftOf(film);
  return draft && draft.from === "reference" ? pointOn(film, place) : film.reference?.[place] ?? null;
}

function errorMm(film, place) {
  return distanceMm(film, predictedOn(film, place), truthOn(film, place));
}

/** Mean, worst and the worst landmark's place over the landmarks shown; nulls where nothing can be measured. */
function errorsOf(film) {
  const shown = view.landmark < 0 ? landmarks.keys() : [view.landmark];
  let [sum, count, worst, place] = [0, 0, null, -1];
  for (const each of shown) {
    const error = errorMm(film, each);
    if (error === null) continue;
    sum += error;
    count += 1;
    if (worst === null || error > worst) [worst, place] = [error, each];
  }
  return { mean: count ? sum / count : null, worst, place };
}

/** Places of the points that the run says should be looked at again: only the ensemble's were examined. */
function doubtsOf(film) {
  if (!film.review || modelOn(film) !== ensemble) return [];
  return [...landmarks.keys()].filter((place) => film.review[place] && (view.landmark < 0 || place === view.landmark));
}

/** The ensemble's radius that holds the true point in at least nine cases of ten, mm; null for other models. */
function radiusMm(film, place) {
  return modelOn(film) === ensemble ? film.radius_mm?.[place] ?? null : null;
}

function listedFilms() {
  const wanted = view.search.trim().toLocaleLowerCase();
  const rows = films
    .filter((film) => (!view.role || film.role === view.role) && film.id.toLocaleLowerCase().includes(wanted) && isWanted(film))
    .map(figuresOf);
  const byName = (one, other) => one.film.id.localeCompare(other.film.id, undefined, { numeric: true });
  const key = { mean: "mean", worst: "worst", doubts: "doubts" }[view.sort];
  if (!key) return rows.sort(byName);
  return rows.sort((one, other) => (other[key] ?? -1) - (one[key] ?? -1) || byName(one, other));
}

function figuresOf(film) {
  return { film, ...errorsOf(film), doubts: doubtsOf(film).length };
}

function isWanted(film) {
  if (view.only === "todo") return !draftOf(film)?.reviewed;
  if (view.only === "done") return draftOf(film) !== null;
  return view.only !== "doubt" || doubtsOf(film).length > 0;
}

/** How far a point may go: to the film's edges, which lie half a pixel outside the outer pixels' centres. */
function within(film, [x, y]) {
  const clamp = (value, size) => Math.min(size === null ? Infinity : size - 0.5, Math.max(-0.5, value));
  return [clamp(x, film.width), clamp(y, film.height)];
}

const number = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const mm = (value, digits = 2) => (value === null ? "unknown distance" : `${value.toFixed(digits)} mm`);
