// The film and its points.  One transform maps original pixels to CSS pixels of the stage; marks are drawn in the latter, so that they keep
// their size.  The picture is a smaller film with the same corners: pixel (0, 0) has its middle at (0, 0), so it spans -0.5 to width - 0.5.
const svg = document.getElementById("stage");
const layer = Object.fromEntries(["film", "under", "over"].map((name) => [name, document.getElementById(`layer-${name}`)]));
const camera = { scale: 1, x: 0, y: 0, isFitted: true }; // CSS pixels = original pixels * scale + (x, y)
const levels = { window: 255, level: 127.5, inverted: false }; // grey levels of the film that become black to white
let marks = []; // by place: the elements of a landmark
const waiting = new Map(); // pictures of the neighbours, loading

const toStage = ([x, y]) => [x * camera.scale + camera.x, y * camera.scale + camera.y];
const toFilm = ([x, y]) => [(x - camera.x) / camera.scale, (y - camera.y) / camera.scale];

function make(name, parent, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

/** (width, height) of the film; of what its points span where nobody knows. */
function sizeOf(film) {
  if (film.width) return [film.width, film.height];
  const points = [film.reference, ...Object.values(film.points)].flat().filter(Boolean);
  return [0, 1].map((axis) => Math.max(100, ...points.map((point) => point[axis] * 1.1)));
}

function fitScale(film) {
  const [width, height] = sizeOf(film);
  return Math.min(svg.clientWidth / width, svg.clientHeight / height);
}

function fit() {
  if (!view.film) return;
  const [width, height] = sizeOf(view.film);
  camera.scale = fitScale(view.film);
  lookAt([(width - 1) / 2, (height - 1) / 2]);
  camera.isFitted = true;
}

/** The stage has another size: the film is fitted again, or what was in the middle stays there. */
function resized(width, height) {
  const middle = toFilm([width / 2, height / 2]); // of the stage as it was
  if (!view.film) return;
  if (camera.isFitted) fit();
  else lookAt(middle);
}

function lookAt([x, y]) {
  camera.x = svg.clientWidth / 2 - x * camera.scale;
  camera.y = svg.clientHeight / 2 - y * camera.scale;
  camera.isFitted = false;
  drawFrame();
}

/** Zoom by a factor about a point of the stage, which stays where it is. */
function zoom(factor, about = [svg.clientWidth / 2, svg.clientHeight / 2]) {
  const film = toFilm(about);
  camera.scale = Math.min(40, Math.max(fitScale(view.film) / 2, camera.scale * factor));
  camera.x = about[0] - film[0] * camera.scale;
  camera.y = about[1] - film[1] * camera.scale;
  camera.isFitted = false;
  drawFrame();
}

function zoomTo(place) {
  const point = pointOn(view.film, place) ?? predictedOn(view.film, place) ?? view.film.reference?.[place];
  if (!point) return;
  camera.scale = Math.max(camera.scale, fitScale(view.film) * 4);
  lookAt(point);
}

/** Open a film's picture and those of its neighbours; no other is read. */
function showPicture(film, neighbours) {
  layer.film.replaceChildren();
  const message = document.getElementById("no-picture");
  message.textContent = film.picture ? "" : film.problem;
  if (film.picture) {
    const [width, height] = sizeOf(film);
    const image = make("image", layer.film, { x: -0.5, y: -0.5, width, height, preserveAspectRatio: "none", href: film.picture });
    image.addEventListener("error", () => {
      message.textContent = `${film.picture} cannot be read; copy the folder ${film.picture.split("/")[0]} along with this page.`;
    });
  }
  waiting.clear();
  for (const { picture } of neighbours) {
    if (picture) waiting.set(picture, Object.assign(new Image(), { src: picture }));
  }
}

function applyLevels() {
  const { window: width, level, inverted } = levels;
  const sign = inverted ? -1 : 1;
  const low = (level - width / 2) / 255;
  for (const channel of document.querySelectorAll("#levels > *")) {
    for (const each of channel.children) {
      each.setAttribute("slope", (sign * 255) / width);
      each.setAttribute("intercept", (inverted ? 1 : 0) - (sign * low * 255) / width);
    }
  }
  const isPlain = width === 255 && level === 127.5 && !inverted;
  layer.film.setAttribute("filter", isPlain ? "none" : "url(#levels)");
}

/** Make the elements of a film's landmarks; `drawFrame` puts them in place. */
function makeMarks(film) {
  const focused = document.activeElement?.dataset?.place;
  layer.under.replaceChildren();
  layer.over.replaceChildren();
  marks = landmarks.map((_, place) => {
    const handle = make("g", layer.over, { class: "handle", tabindex: 0, role: "button", "aria-roledescription": "movable point", "data-place": place });
    make("circle", handle, { class: "halo", r: 15 });
    make("path", handle, { class: "diamond", d: "M0-7 7 0 0 7-7 0Z" });
    make("circle", handle, { class: "heart", r: 1.2 });
    return {
      handle,
      line: make("line", layer.under, { class: "error" }),
      moved: make("line", layer.under, { class: "moved" }),
      radius: make("ellipse", layer.under, { class: "radius" }),
      reference: make("circle", layer.under, { class: "reference", r: 6 }),
      predicted: make("circle", layer.under, { class: "predicted", r: 4 }),
    };
  });
  marks.forEach((mark, place) => {
    mark.label = make("text", layer.under, { class: "label" }); // above all marks
    mark.label.textContent = landmarks[place].symbol;
  });
  drawFrame();
  if (focused !== undefined) marks[focused]?.handle.focus({ preventScroll: true });
}

/** Put everything where the camera sees it. */
function drawFrame() {
  layer.film.setAttribute("transform", `matrix(${camera.scale} 0 0 ${camera.scale} ${camera.x} ${camera.y})`);
  if (!view.film) return;
  marks.forEach((_, place) => drawMark(view.film, place));
  placeLabels(view.film);
}

function drawMark(film, place) {
  const mark = marks[place];
  const isShown = view.landmark < 0 || view.landmark === place;
  const predicted = isShown ? predictedOn(film, place) : null;
  const reference = isShown ? film.reference?.[place] ?? null : null;
  const point = isShown ? pointOn(film, place) : null;
  const isOfReference = baseOf(film).from === "reference";
  const edited = isEdited(film, place);
  const { layers } = view;
  // What is edited stays in sight, whichever layers are hidden; what is hidden is no handle either.
  const isHandle = point && (edited || layers[isOfReference ? "reference" : "prediction"]);
  placeAt(mark.reference, layers.reference && reference);
  placeAt(mark.predicted, layers.prediction && predicted);
  mark.reference.classList.toggle("ghost", edited && isOfReference);
  mark.predicted.classList.toggle("ghost", edited && !isOfReference);
  span(mark.line, layers.reference && layers.prediction && predicted, truthOn(film, place));
  span(mark.moved, edited && point, startOn(film, place));
  placeAt(mark.handle, isHandle ? point : null);
  mark.handle.classList.toggle("edited", edited);
  mark.handle.classList.toggle("selected", view.selected === place);
  if (isHandle) mark.handle.setAttribute("aria-label", spoken(film, place));
  drawRadius(mark.radius, film, place, layers.radius && layers.prediction && predicted);
mark.labelled = layers.labels ? (isHandle && point) || (layers.prediction && predicted) || (layers.reference && reference) || null : null;
}

/** Put an element at a point of the film, or hide it. */
function placeAt(element, point) {
  element.style.display = point ? "" : "none";
  if (point) element.setAttribute("transform", `translate(${toStage(point).join(" ")})`);
}

function span(line, one, other) {
  line.style.display = one && other ? "" : "none";
  if (!one || !other) return;
  const [[x1, y1], [x2, y2]] = [toStage(one), toStage(other)];
  for (const [key, value] of Object.entries({ x1, y1, x2, y2 })) line.setAttribute(key, value);
}

function drawRadius(ellipse, film, place, point) {
  const radius = radiusMm(film, place);
  placeAt(ellipse, radius !== null && film.spacing_mm && point);
  if (radius === null || !film.spacing_mm || !point) return;
  ellipse.setAttribute("rx", (radius / film.spacing_mm[0]) * camera.scale);
  ellipse.setAttribute("ry", (radius / film.spacing_mm[1]) * camera.scale);
}

/** A point in words: "S, 1.2 mm from the reference". */
function spoken(film, place) {
  const base = baseOf(film);
  const point = pointOn(film, place);
  const other = base.from === "reference" ? predictedOn(film, place) : film.reference?.[place] ?? null;
  const far = distanceMm(film, point, other);
  const name = base.from === "reference" ? `prediction of ${modelOn(film)}` : "reference";
  const moved = isEdited(film, place) ? `, moved ${mm(distanceMm(film, point, startOn(film, place)), 1)}` : "";
  return `${landmarks[place].symbol}${moved}, ${other ? `${mm(far, 1)} from ${base.from === "reference" ? "the " : ""}${name}` : `no ${name}`}`;
}
