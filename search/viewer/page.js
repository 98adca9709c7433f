// What the page's controls and keys do.
const byName = (id) => document.getElementById(id);

/** Say it where eyes and screen readers find it. */
function tell(text) {
  byName("said").textContent = text;
}

function open(film, reveal = true) {
  if (!film) return;
  abandon();
  view.film = film;
  view.selected = view.landmark;
  for (const button of list.querySelectorAll("[aria-current]")) button.removeAttribute("aria-current");
  const button = buttonOf(film.id);
  button?.setAttribute("aria-current", "true");
  if (reveal) button?.scrollIntoView({ block: "nearest" });
  showPicture(film, neighbours());
  makeMarks(film);
  fit();
  if (view.landmark >= 0) zoomTo(view.landmark);
  drawFilmBar();
  drawTable();
  document.title = `${film.id} – films of ${run.name}`;
  const hash = `#film=${encodeURIComponent(film.id)}`;
  if (location.hash !== hash) window.history.replaceState(null, "", hash);
}

/** The next film of the list, in a direction. */
function page(by) {
  const { ids, place } = position();
  const next = place < 0 ? ids[0] : ids[place + by];
  if (next !== undefined) open(filmById.get(next));
  else tell(by > 0 ? "This is the last film of the list." : "This is the first film of the list.");
}

/** After corrections changed, of the open film or of any: everything that shows them. */
function drawCorrections(isOfOpenFilm = false) {
  if (isOfOpenFilm) drawRow(view.film);
  else drawList(true);
  drawFilmBar();
  drawTable();
  drawFrame();
  drawState();
}

function changed(film, draft, series = "") {
  change(new Map([[film.id, draft]]), series);
  drawCorrections(film === view.film);
}

function select(place) {
  view.selected = place;
  drawTable();
  drawFrame();
}

function movePoint(place, [dx, dy]) {
  const [x, y] = pointOn(view.film, place);
  changed(view.film, withPoint(view.film, place, within(view.film, [x + dx, y + dy])), `${view.film.id} ${place}`);
  tell(spoken(view.film, place));
}

function toggleMissing(place) {
  const isMissing = pointOn(view.film, place) === null;
  changed(view.film, withPoint(view.film, place, isMissing ? placeToReturn(view.film, place) : null));
  tell(`${landmarks[place].symbol} ${isMissing ? "is back" : "is marked missing"}`);
}

function toggleReviewed() {
  const base = baseOf(view.film);
  changed(view.film, { ...base, reviewed: !base.reviewed });
  tell(`${view.film.id} is ${base.reviewed ? "no longer " : ""}marked reviewed`);
}

function goBack(stepTaken, word) {
  abandon();
  const id = stepTaken();
  if (id === null) return tell(`Nothing to ${word}.`);
  if (filmById.get(id) !== view.film) open(filmById.get(id));
  drawCorrections();
  return tell(`${word === "undo" ? "Undone" : "Done again"} on ${id}`);
}

function save() {
  const { text, count, empty } = toCsv();
  const left = empty.length ? ` Left out, for no landmark is left on them: ${empty.map((film) => film.id).join(", ")}.` : "";
  if (!count) return tell(`Nothing to save: no film is corrected or marked reviewed.${left}`);
  const file = `corrections-${run.name}.csv`;
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = Object.assign(document.createElement("a"), { href: url, download: file });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  markSaved(file);
  for (const film of empty) inFile.delete(film.id);
  drawState();
  return tell(`${count} films saved to ${file}.${left}`);
}

async function load(file) {
  const { found, problems } = fromCsv(await file.text());
  if (found.size) {
    change(found);
    markSaved(file.name, [...found.keys()]);
  }
  const first = found.keys().next().value;
  if (first !== undefined) open(filmById.get(first));
  drawCorrections();
  tell(`${found.size} films taken from ${file.name}.${problems.length ? ` Not taken: ${problems.join("; ")}.` : ""}`);
}

function drawState() {
  const all = [...drafts.keys()].filter((id) => filmById.has(id)).map((id) => filmById.get(id));
  const corrected = all.filter((film) => numEdits(film)).length;
  const reviewed = all.filter((film) => draftOf(film).reviewed).length;
  const unfiled = unsaved().length;
  const counts = all.length ? `${corrected} corrected, ${reviewed} reviewed of ${films.length}` : "nothing corrected or reviewed yet";
  const kept = storageWorks ? "kept in this browser" : "this browser keeps nothing: save before you leave";
  const filed = unfiled ? `${unfiled} not in a file yet (${kept})` : all.length && lastFile ? `all in ${lastFile}` : "";
  byName("state").textContent = [counts, filed].filter(Boolean).join(" · ");
  byName("state").classList.toggle("open", unfiled > 0);
  byName("save").disabled = all.length === 0;
  byName("undo").disabled = steps.done.length === 0;
  byName("redo").disabled = steps.undone.length === 0;
}

function setLevels(wanted) {
  const whole = (value, low, high) => Math.round(Math.min(high, Math.max(low, value)));
  if ("window" in wanted) levels.window = whole(wanted.window, 2, 255);
  if ("level" in wanted) levels.level = wanted.level === 127.5 ? 127.5 : whole(wanted.level, 0, 255);
  if ("inverted" in wanted) levels.inverted = wanted.inverted;
  byName("window").value = levels.window;
  byName("level").value = levels.level;
  byName("invert").setAttribute("aria-pressed", String(levels.inverted));
  applyLevels();
}

const plainLevels = () => setLevels({ window: 255, level: 127.5, inverted: false });

function toggleLayer(name) {
  view.layers[name] = !view.layers[name];
  byName(`show-${name}`).setAttribute("aria-pressed", String(view.layers[name]));
  drawFrame();
}

/** Films or points were chosen otherwise: list, marks and table anew. */
function rechosen() {
  drawList();
  if (view.film) {
    drawFilmBar();
    drawTable();
    drawFrame();
  }
}

function chooseLandmark(place) {
  view.landmark = place;
  view.selected = place;
  if (place >= 0 && view.sort === "name") byName("sort").value = view.sort = "mean";
  rechosen();
  if (view.film && place >= 0) zoomTo(place);
  else fit();
}

/** Options of a choice: pairs of value and text. */
function fill(id, options) {
  byName(id).replaceChildren(...options.map(([value, text]) => Object.assign(document.createElement("option"), { value, textContent: text })));
}

function arrange() {
  fill("model", models.map(({ name, mre_mm: mre }) => [name, mre === null ? name : `${name} (${number(mre)} mm)`]));
  fill("landmark", [[-1, "all landmarks"], ...landmarks.map(({ symbol, name }, place) => [place, name ? `${symbol}, ${name}` : symbol])]);
  byName("model").value = view.model;
  const roles = new Set(films.map((film) => film.role));
  fill("role", [["", "all films"], ...[["test", "locked test"], ["validation", "validation"]].filter(([role]) => roles.has(role))]);
  const examined = films.some((film) => film.review);
  fill("only", [["", "any state"], ["todo", "not reviewed yet"], ["done", "corrected or reviewed"], ...(examined ? [["doubt", "with points to review"]] : [])]);
  fill("sort", [["mean", "mean error"], ["worst", "worst error"], ...(examined ? [["doubts", "points to review"]] : []), ["name", "name"]]);
  byName("show-radius").hidden = !films.some((film) => film.radius_mm);
  byName("notes").replaceChildren(...notes.map((note) => element("li", { textContent: note })));
  if (!films.some((film) => film.reference)) byName("correct").value = view.correct = "prediction";
}

function listen() {
  const chosen = (id, act) => byName(id).addEventListener("change", (event) => act(event.target.value));
  const clicked = (id, act) => byName(id).addEventListener("click", () => act());
  chosen("model", (name) => {
    view.model = name;
    rechosen();
  });
  chosen("correct", (from) => {
    view.correct = from;
    rechosen();
  });
  for (const key of ["role", "only", "sort"]) chosen(key, (value) => rechosen((view[key] = value)));
  chosen("landmark", (place) => chooseLandmark(Number(place)));
  byName("search").addEventListener("input", (event) => {
    view.search = event.target.value;
    rechosen();
  });
  byName("list").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) open(filmById.get(button.dataset.film), false);
  });
  table.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.classList.contains("go")) {
      select(Number(button.dataset.place));
      zoomTo(Number(button.dataset.place));
    } else if (button?.classList.contains("lose")) toggleMissing(Number(button.dataset.place));
    else if (button) {
      view.tableByError = button.id === "by-error";
      drawTable();
    }
  });
  layer.over.addEventListener("focusin", (event) => {
    const place = Number(event.target.dataset.place);
    if (view.selected !== place) select(place);
  });
  for (const name of Object.keys(view.layers)) clicked(`show-${name}`, () => toggleLayer(name));
  for (const key of ["window", "level"]) byName(key).addEventListener("input", (event) => setLevels({ [key]: Number(event.target.value) }));
  clicked("invert", () => setLevels({ inverted: !levels.inverted }));
  clicked("plain", plainLevels);
  clicked("previous", () => page(-1));
  clicked("next", () => page(1));
  clicked("zoom-in", () => zoom(1.5));
  clicked("zoom-out", () => zoom(1 / 1.5));
  clicked("fit", fit);
  clicked("reviewed", toggleReviewed);
  clicked("discard", () => changed(view.film, null));
  clicked("undo", () => goBack(undo, "undo"));
  clicked("redo", () => goBack(redo, "redo"));
  clicked("save", save);
  clicked("load", () => byName("file").click());
  byName("file").addEventListener("change", async (event) => {
    for (const file of event.target.files) await load(file);
    event.target.value = "";
  });
  clicked("help", () => byName("keys").showModal());
  for (const panel of ["films", "points"]) {
    clicked(`fold-${panel}`, () => {
      const isOpen = byName(panel).classList.toggle("open");
      byName(`fold-${panel}`).setAttribute("aria-expanded", String(isOpen));
    });
  }
  window.addEventListener("hashchange", openFromHash);
  window.addEventListener("beforeunload", (event) => {
    if (unsaved().length) event.preventDefault();
  });
  window.addEventListener("storage", (event) => {
    if (event.key !== storageKey) return;
    recall(); // another window of this run went on: steps of this one would undo what it did
    steps.done.length = steps.undone.length = 0;
    rechosen();
    drawState();
  });
  document.addEventListener("keydown", pressedKey);
}

const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const keys = {
  0: fit,
  "+": () => zoom(1.5),
  "=": () => zoom(1.5),
  "-": () => zoom(1 / 1.5),
  l: () => toggleLayer("labels"),
  r: () => toggleLayer("reference"),
  p: () => toggleLayer("prediction"),
  c: () => !byName("show-radius").hidden && toggleLayer("radius"),
  i: () => setLevels({ inverted: !levels.inverted }),
  w: plainLevels,
  m: toggleReviewed,
  "/": () => byName("search").focus(),
  "?": () => byName("keys").showModal(),
  ArrowLeft: () => page(-1),
  ArrowRight: () => page(1),
};

function pressedKey(event) {
  if (byName("keys").open || event.altKey) return;
  const handle = event.target.closest?.(".handle");
  const typing = event.target.closest?.("input, select, textarea");
  if (event.ctrlKey || event.metaKey) return withControl(event, typing);
  if (event.key === "Escape") {
    if (abandon()) tell("The point is back where it was.");
    else event.target.blur?.();
    return drawCorrections();
  }
  if (typing) return;
  if (handle && arrows[event.key]) {
    const [dx, dy] = arrows[event.key];
    const by = event.shiftKey ? 10 : 1;
    event.preventDefault();
    return movePoint(Number(handle.dataset.place), [dx * by, dy * by]);
  }
  if (handle && (event.key === "Delete" || event.key === "Backspace")) {
    const { place } = handle.dataset;
    event.preventDefault();
    toggleMissing(Number(place));
    return table.querySelector(`.lose[data-place="${place}"]`)?.focus(); // from where it can be brought back
  }
  if (event.target.closest?.("#list") && arrows[event.key]?.[1]) {
    event.preventDefault();
    page(arrows[event.key][1]);
    return buttonOf(view.film.id)?.focus();
  }
  const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || !view.film) return;
  event.preventDefault();
  act();
}

function withControl(event, typing) {
  const key = event.key.toLowerCase();
  const act = { z: () => (event.shiftKey ? goBack(redo, "redo") : goBack(undo, "undo")), y: () => goBack(redo, "redo"), s: save }[key];
  if (!act || (typing?.type === "search" && key !== "s")) return;
  event.preventDefault();
  act();
}

function openFromHash() {
  const asked = /^#film=(.*)$/.exec(location.hash)?.[1];
  if (asked === undefined) return false;
  let id = asked;
  try {
    id = decodeURIComponent(asked);
  } catch {
    // a link that somebody cut short: nothing is called like this, and that is what is said
  }
  const film = filmById.get(id);
  if (film) open(film);
  else tell(`No film here is called ${id}.`);
  return film !== undefined;
}

arrange();
recall();
listen();
drawList();
drawState();
if (films.length && !openFromHash()) open(filmById.get(position().ids[0]));
