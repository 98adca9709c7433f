// Mouse, pen, touch and wheel on the stage.  One pointer drags a point, the film or the grey levels; two pinch.
const pointers = new Map(); // by id: [x, y] on the stage
let gesture = null; // { kind: "point" | "pan" | "levels", ... } of the first pointer
const slackPx = 3; // CSS pixels that a hand may tremble before a click becomes a drag

const at = (event) => {
  const box = svg.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

/** The nearest handle in reach: points crowd, so the one on top is not always the one meant. */
function handleNear([x, y], reach) {
  let [best, nearest] = [-1, reach];
  marks.forEach(({ handle }, place) => {
    if (handle.style.display === "none") return;
    const [px, py] = toStage(pointOn(view.film, place));
    const far = Math.hypot(px - x, py - y);
    if (far < nearest) [best, nearest] = [place, far];
  });
  return best;
}

const reachOf = (event) => (event.pointerType === "touch" ? 26 : 14);

function pressed(event) {
  if (!view.film || event.button === 1) return;
  const point = at(event);
  pointers.set(event.pointerId, point);
  svg.setPointerCapture(event.pointerId);
  if (pointers.size === 2) {
    abandon();
    gesture = { kind: "pinch" };
    return;
  }
  if (pointers.size > 2) return;
  event.preventDefault();
  if (event.button === 2 || event.shiftKey) {
    gesture = { kind: "levels", from: point, ...levels };
    return;
  }
  const place = handleNear(point, reachOf(event));
  if (place < 0) {
    gesture = { kind: "pan", from: point, x: camera.x, y: camera.y };
    return;
  }
  select(place);
  marks[place].handle.focus({ preventScroll: true });
  gesture = { kind: "point", from: point, place, start: pointOn(view.film, place), before: draftOf(view.film), moves: false };
}

function moved(event) {
  const point = at(event);
  const last = pointers.get(event.pointerId);
  if (!last) {
    svg.classList.toggle("over-point", view.film !== null && handleNear(point, reachOf(event)) >= 0);
    return;
  }
  if (gesture?.kind === "pinch") pinch(event.pointerId, point);
  pointers.set(event.pointerId, point);
  if (gesture?.kind === "pan") {
    camera.x = gesture.x + point[0] - gesture.from[0];
    camera.y = gesture.y + point[1] - gesture.from[1];
    camera.isFitted = false;
    drawFrame();
  } else if (gesture?.kind === "levels") {
    setLevels({ window: gesture.window + point[0] - gesture.from[0], level: gesture.level + point[1] - gesture.from[1] });
  } else if (gesture?.kind === "point") dragPoint(point);
}

/** A point goes as far as the pointer went: it never jumps under the pointer, so it can be held from beside. */
function dragPoint([x, y]) {
  const by = [x - gesture.from[0], y - gesture.from[1]];
  gesture.moves ||= Math.hypot(...by) > slackPx;
  if (!gesture.moves) return;
  const point = gesture.start.map((value, axis) => value + by[axis] / camera.scale);
  put(view.film.id, withPoint(view.film, gesture.place, within(view.film, point)));
  drawMark(view.film, gesture.place);
}

function pinch(id, point) {
  const [other] = [...pointers].filter(([each]) => each !== id).map(([, value]) => value);
  const last = pointers.get(id);
  const [before, now] = [last, point].map((each) => Math.hypot(each[0] - other[0], each[1] - other[1]));
  const middle = [(point[0] + other[0]) / 2, (point[1] + other[1]) / 2];
  camera.x += (point[0] - last[0]) / 2;
  camera.y += (point[1] - last[1]) / 2;
  zoom(before > 0 ? now / before : 1, middle);
}

function released(event) {
  pointers.delete(event.pointerId);
  if (gesture?.kind === "point" && gesture.moves) {
    const after = draftOf(view.film);
    put(view.film.id, gesture.before); // as one step, from where the drag began
    gesture.moves = false;
    changed(view.film, after);
    tell(spoken(view.film, gesture.place));
  }
  if (pointers.size < 2) gesture = null; // a finger left over from a pinch does nothing
}

/** Put a dragged point back; whether there was one. */
function abandon() {
  const drags = gesture?.kind === "point";
  if (drags) {
    put(view.film.id, gesture.before);
    drawMark(view.film, gesture.place);
  }
  gesture = null;
  return drags;
}

svg.addEventListener("pointerdown", pressed);
svg.addEventListener("pointermove", moved);
svg.addEventListener("pointerup", released);
svg.addEventListener("pointercancel", (event) => {
  abandon();
  released(event);
});
svg.addEventListener("contextmenu", (event) => event.preventDefault());
svg.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    if (!view.film) return;
    const lines = event.deltaMode === 1 ? 16 : 1;
    // A pinch on a touchpad comes as a wheel with Ctrl, in smaller steps.
    zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), at(event));
  },
  { passive: false },
);
let stageSize = [svg.clientWidth, svg.clientHeight];
new ResizeObserver(() => {
  if (svg.clientWidth) resized(...stageSize);
  stageSize = [svg.clientWidth, svg.clientHeight];
}).observe(svg);
