// The list of films and the table of landmarks.
const list = document.getElementById("list");
const table = document.getElementById("landmark-table");

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

let listed = [];

/** Choose and sort the films anew, or only write their figures anew: who corrects down a list does not want it to change its order. */
function drawList(isKept = false) {
  const rows = isKept ? listed.map(figuresOf) : listedFilms();
  listed = rows.map(({ film }) => film);
  const held = document.activeElement?.closest("#list button")?.dataset.film;
  list.replaceChildren(...rows.map(rowElement));
  const shown = rows.length === films.length ? `${films.length} films` : `${rows.length} of ${films.length} films`;
  document.getElementById("count").textContent = films.length ? shown : "";
  document.getElementById("none").hidden = rows.length > 0 || films.length === 0;
  if (held !== undefined) buttonOf(held)?.focus({ preventScroll: true });
  position();
}

/** The row of one film whose figures have changed. */
function drawRow(film) {
  const old = buttonOf(film.id);
  const isFocused = old !== undefined && old === document.activeElement;
  old?.closest("li").replaceWith(rowElement(figuresOf(film)));
  if (isFocused) buttonOf(film.id).focus({ preventScroll: true });
}

function rowElement({ film, mean, worst, place, doubts }) {
  const draft = draftOf(film);
  const edits = numEdits(film);
  const mark = edits ? `corrected: ${edits}` : draft?.reviewed ? "reviewed" : "";
  const one = view.landmark >= 0;
  const button = element(
    "button",
    { type: "button", title: film.problem },
    element("b", { textContent: film.id }),
    element("span", { className: "role", textContent: roleOf(film) }),
    element("span", { className: "figure", textContent: mean === null ? "no error known" : `${number(mean)} mm` }),
    element("span", { className: "worst", textContent: worst === null || one ? "" : `worst ${landmarks[place].symbol} ${number(worst, 1)}` }),
    element("span", { className: "signs" }, ...signs(film, mark, doubts)),
  );
  button.dataset.film = film.id;
  if (film === view.film) button.setAttribute("aria-current", "true");
  return element("li", {}, button);
}

function signs(film, mark, doubts) {
  const made = [];
  if (doubts) made.push(element("span", { className: "pill doubt", textContent: `${doubts} to review` }));
  if (film.problem) made.push(element("span", { className: "pill problem", textContent: film.picture ? "film gone" : "no picture" }));
  if (mark) made.push(element("span", { className: `pill ${mark.startsWith("c") ? "corrected" : "reviewed"}`, textContent: mark }));
  return made;
}

function roleOf(film) {
  if (film.role === "test") return "locked test";
  return film.fold < 0 ? "validation" : `fold ${film.fold}, held out`;
}

const buttonOf = (id) => [...list.querySelectorAll("button")].find((button) => button.dataset.film === id);

/** Where the open film stands among those listed, and its neighbours there. */
function position() {
  const ids = [...list.querySelectorAll("button")].map((button) => button.dataset.film);
  const place = view.film ? ids.indexOf(view.film.id) : -1;
  document.getElementById("position").textContent = place < 0 ? `– of ${ids.length}` : `${place + 1} of ${ids.length}`;
  return { ids, place };
}

function neighbours() {
  const { ids, place } = position();
  return [ids[place - 1], ids[place + 1]].filter((id) => id !== undefined).map((id) => filmById.get(id));
}

function drawTable() {
  const film = view.film;
  const body = table.tBodies[0];
  const held = document.activeElement?.closest("tbody") === body ? [document.activeElement.dataset.place, document.activeElement.className] : null;
  const places = [...landmarks.keys()].filter((place) => film && (view.landmark < 0 || place === view.landmark));
  if (view.tableByError) places.sort((one, other) => (errorMm(film, other) ?? -1) - (errorMm(film, one) ?? -1));
  body.replaceChildren(...places.map((place) => landmarkRow(film, place)));
  const [byOrder, byError] = table.tHead.rows[0].cells;
  byOrder.setAttribute("aria-sort", view.tableByError ? "none" : "ascending");
  byError.setAttribute("aria-sort", view.tableByError ? "descending" : "none");
  for (const each of table.querySelectorAll(".of-ensemble")) each.hidden = !films.some((one) => one.radius_mm);
  if (held) body.querySelector(`button.${held[1].split(" ")[0]}[data-place="${held[0]}"]`)?.focus({ preventScroll: true });
}

function landmarkRow(film, place) {
  const { symbol, name } = landmarks[place];
  const isMissing = pointOn(film, place) === null;
  const shift = isEdited(film, place) ? distanceMm(film, pointOn(film, place), startOn(film, place)) : null;
  const doubt = doubtsOf(film).includes(place) ? film.review[place] : "";
  const go = element("button", { type: "button", className: "go", title: "zoom to it" }, element("b", { textContent: symbol }), ` ${name}`);
  const lose = element("button", { type: "button", className: "lose", textContent: isMissing ? "bring back" : "missing" });
  lose.setAttribute("aria-label", `${symbol}: ${isMissing ? "bring back" : "mark as missing"}`);
  go.dataset.place = lose.dataset.place = place;
  const row = element(
    "tr",
    { className: [isEdited(film, place) ? "edited" : "", view.selected === place ? "selected" : "", isMissing ? "gone" : ""].join(" ") },
    element("th", { scope: "row" }, go),
    element("td", { textContent: number(errorMm(film, place)) }),
    element("td", { textContent: isEdited(film, place) ? (isMissing ? "missing" : number(shift)) : "" }),
    element("td", { className: "of-ensemble", textContent: radiusMm(film, place) === null ? "" : `± ${number(radiusMm(film, place), 1)}` }),
    element("td", {}, lose),
  );
  for (const reason of doubt.split(" + ").filter(Boolean)) {
    row.cells[0].append(element("span", { className: "pill doubt", textContent: reason, title: "why the run would have it reviewed" }), " ");
  }
  return row;
}

function drawFilmBar() {
  const film = view.film;
  document.getElementById("film-name").textContent = film ? film.id : "No film";
  if (!film) return;
  const { mean, worst, place } = errorsOf(film);
  const model = modelOn(film);
  const facts = [roleOf(film)];
  facts.push(model === view.model ? model : `${model} (${view.model} has no points here)`);
  if (mean !== null) facts.push(`mean ${number(mean)} mm`, `worst ${landmarks[place].symbol} ${number(worst, 1)} mm`);
  else facts.push(film.spacing_mm ? "no reference to measure against" : "mm a pixel unknown");
  const base = baseOf(film);
  facts.push(`corrections start from ${base.from === "reference" ? "the reference" : `the prediction of ${base.model}`}`);
  document.getElementById("facts").textContent = facts.join(" · ");
  document.getElementById("problem").textContent = film.picture ? film.problem : "";
  document.getElementById("reviewed").setAttribute("aria-pressed", String(draftOf(film)?.reviewed ?? false));
  document.getElementById("discard").disabled = draftOf(film) === null;
}
