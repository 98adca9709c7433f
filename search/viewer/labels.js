// Names beside the points: away from the middle of the face if there is room, else where no other name and, if it can be, no mark stands.
const turns = [0, 45, -45, 90, -90, 135, -135, 180].map((degrees) => (degrees * Math.PI) / 180);
const letterPx = 8.5; // of 13 px bold type, about
const linePx = 15;

function placeLabels(film) {
  const shown = marks.filter(({ labelled }) => labelled);
  const centre = [0, 1].map((axis) => shown.reduce((sum, { labelled }) => sum + labelled[axis], 0) / Math.max(1, shown.length));
  const taken = [];
  const points = shown.map(({ labelled }) => toStage(labelled)).map(([x, y]) => ({ x: x - 5, y: y - linePx / 2, width: 10 }));
  for (const mark of marks) mark.label.style.display = mark.labelled ? "" : "none";
  for (const mark of shown) {
    const [x, y] = toStage(mark.labelled);
    const outwards = Math.atan2(mark.labelled[1] - centre[1], mark.labelled[0] - centre[0]);
    const width = letterPx * mark.label.textContent.length;
    const boxes = turns.map((turn) => labelBox([x, y], outwards + turn, width));
    const free = boxes.filter((each) => !taken.some((other) => overlap(each, other)));
    const box = free.find((each) => !points.some((other) => overlap(each, other))) ?? free[0] ?? boxes[0];
    taken.push(box);
    mark.label.setAttribute("x", box.x + width / 2);
    mark.label.setAttribute("y", box.y + linePx - 3);
    mark.label.classList.toggle("selected", marks[view.selected] === mark);
  }
}

/** Where a name of this width stands, 9 px off a point in a direction. */
function labelBox([x, y], angle, width) {
  const [dx, dy] = [Math.cos(angle), Math.sin(angle)];
  return { x: x + 9 * dx + (width / 2) * (dx - 1), y: y + 9 * dy + (linePx / 2) * (dy - 1), width };
}

function overlap(one, other) {
  return one.x < other.x + other.width && other.x < one.x + one.width && Math.abs(one.y - other.y) < linePx;
}
