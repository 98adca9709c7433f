// Corrections as a table, a row a film: what `--data corrections.csv` reads.  Docs: results/README.md, "Reviewing films".
const columnsBefore = ["image", "id", "spacing_x", "spacing_y", "split", "group"];

/** The table of all drafts, and the films that it must leave out: the reader refuses a film without any point. */
function toCsv() {
  const header = [...columnsBefore, ...landmarks.flatMap(({ symbol }) => [`${symbol}_x`, `${symbol}_y`]), "review"];
  const touched = films.filter((film) => drafts.has(film.id));
  const empty = touched.filter((film) => landmarks.every((_, place) => pointOn(film, place) === null));
  const rows = touched.filter((film) => !empty.includes(film)).map(rowOf);
  return { text: [header, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n", count: rows.length, empty };
}

function rowOf(film) {
  const [x, y] = film.spacing_mm ?? ["", ""];
  const points = [...landmarks.keys()].flatMap((place) => pointOn(film, place)?.map((value) => +value.toFixed(3)) ?? ["", ""]);
  return [film.image, film.id, x, y, film.split, film.group, ...points, said(film)];
}

/** A film's review in words, which the reader passes over and `fromCsv` takes up. */
function said(film) {
  const draft = draftOf(film);
  const moved = Object.keys(draft.edits).filter((symbol) => draft.edits[symbol] !== null);
  const missing = Object.keys(draft.edits).filter((symbol) => draft.edits[symbol] === null);
  return [
    `started from ${draft.from === "reference" ? "the reference" : `the prediction of ${draft.model}`}`,
    ...(draft.reviewed ? ["reviewed"] : []),
    ...(moved.length ? [`moved ${moved.join(" ")}`] : []),
    ...(missing.length ? [`missing ${missing.join(" ")}`] : []),
  ].join("; ");
}

function cell(value) {
  const text = String(value);
  return /[",;\t\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Rows of cells; quotes as RFC 4180 has them, the separator whichever the header has most of. */
function parseCsv(text) {
  const plain = text.replace(/^\ufeff/, "");
  const head = plain.slice(0, plain.search(/\r|\n|$/));
  const separator = ["\t", ";", ","].reduce((best, each) => (head.split(each).length > head.split(best).length ? each : best));
  const rows = [[]];
  let [value, quoted] = ["", false];
  for (let at = 0; at <= plain.length; at += 1) {
    const character = plain[at];
    if (quoted && character !== undefined) {
      if (character !== '"') value += character;
      else if (plain[at + 1] === '"') value += plain[(at += 1)];
      else quoted = false;
    } else if (character === '"' && value === "") quoted = true;
    else if (character === separator || character === "\n" || character === "\r" || character === undefined) {
      rows.at(-1).push(value.trim());
      value = "";
      if (character === "\n" || character === "\r") rows.push([]);
    } else value += character;
  }
  return rows.filter((row) => row.some((each) => each !== ""));
}

/** Drafts of a table by film id, and what is wrong with it; a film with a problem is left out. */
function fromCsv(text) {
  const [header = [], ...rows] = parseCsv(text);
  const columns = new Map(header.map((name, column) => [name, column]));
  const known = landmarks.filter(({ symbol }) => columns.has(`${symbol}_x`) && columns.has(`${symbol}_y`));
  if (!columns.has("image") || !known.length) {
    return { found: new Map(), problems: [`no table of corrections: it needs a column image and ${landmarks[0].symbol}_x, ${landmarks[0].symbol}_y, …`] };
  }
  const found = new Map();
  const problems = [];
  rows.forEach((row, number) => {
    const at = (name) => row[columns.get(name)] ?? "";
    const film = filmById.get(at("id")) ?? byImage(at("image"));
    const where = `line ${number + 2}`;
    if (!film) problems.push(`${where}: ${at("id") || at("image") || "no name"} is no film of this run`);
    else {
      const draft = draftFrom(film, at, known);
      if (draft) found.set(film.id, draft);
      else problems.push(`${where}: ${film.id} has a point that is no pair of numbers within the film`);
    }
  });
  return { found, problems };
}

function byImage(path) {
  const nameOf = (file) => file.split(/[\\/]/).at(-1);
  const exact = films.find((film) => film.image === path);
  const alike = films.filter((film) => path && nameOf(film.image) === nameOf(path));
  return exact ?? (alike.length === 1 ? alike[0] : undefined);
}

/** The draft that a row tells of; null if a point is wrong. */
function draftFrom(film, at, known) {
  const model = /started from the prediction of ([^;]+)/.exec(at("review"))?.[1] ?? "";
  const isReference = film.reference && !film.points[model];
  const base = { from: isReference ? "reference" : "prediction", model: isReference ? "" : film.points[model] ? model : modelOn(film), edits: {}, reviewed: true };
  for (const { symbol } of known) {
    const place = placeOf.get(symbol);
    const cells = [at(`${symbol}_x`), at(`${symbol}_y`)];
    const point = cells.every((each) => each === "") ? null : cells.map((each) => (each === "" ? NaN : Number(each.replace(",", "."))));
    if (point && (point.some(Number.isNaN) || Math.hypot(...within(film, point).map((value, axis) => value - point[axis])) > 1e-3)) return null;
    const given = (base.from === "reference" ? film.reference : film.points[base.model])?.[place];
    const start = given ? within(film, given) : null;
    const isSame = start && point ? Math.hypot(start[0] - point[0], start[1] - point[1]) < 0.006 : start === point;
    if (!isSame) base.edits[symbol] = point;
  }
  if (/started from/.test(at("review"))) base.reviewed = /(^|; )reviewed(;|$)/.test(at("review"));
  return base;
}
