"use strict";
// Plots take paper, text and grid colours from the page's style, so one figure serves light and dark.
const narrow = window.matchMedia("(max-width: 600px)");
const hovers = window.matchMedia("(hover: hover)");
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function themed(layout) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = (own) => ({ gridcolor: colour("--grid"), linecolor: colour("--line"), zeroline: false, automargin: true, ...own });
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("--ink"), family: getComputedStyle(document.body).fontFamily, size: 12.5 },
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
    hovermode: "closest",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--grey"), activecolor: colour("--ink"), remove: ["select", "lasso", "zoomin", "zoomout"] },
    margin: { l: 56, r: 14, t: 10, b: 48 },
    legend: { orientation: "h", y: 1.03, yanchor: "bottom", x: 0, font: { size: narrow.matches ? 11 : 12.5 } },
    ...layout,
    height: layout.height + (narrow.matches && layout.showlegend !== false ? 90 : 0), // a narrow legend takes more lines
    xaxis: axis(layout.xaxis),
    yaxis: axis(layout.yaxis),
    annotations: (layout.annotations ?? []).map((own) => ({ ...own, font: { ...own.font, color: colour("--faint") } })),
  };
}

function drawAll() {
  for (const box of document.querySelectorAll(".plot")) {
    const figure = JSON.parse(document.getElementById("figure-" + box.dataset.figure).textContent);
    const layout = themed(figure.layout);
    box.style.height = `${layout.height}px`; // else a responsive plot folds up when the window changes
    const bar = hovers.matches ? "hover" : false;
    Plotly.react(box, figure.data, layout, { responsive: true, displaylogo: false, displayModeBar: bar });
  }
}

function sortBy(table, column, heading) {
  const rising = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const value = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
  const rows = [...table.tBodies[0].rows].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if ((a === "–") !== (b === "–")) return a === "–" ? 1 : -1; // what is missing stays last
    const order = a !== "" && b !== "" && !isNaN(a) && !isNaN(b) ? a - b : a.localeCompare(b);
    return rising ? order : -order;
  });
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button"); // so that keys reach it, and screen readers name it
    button.append(...heading.childNodes);
    heading.append(button);
    heading.addEventListener("click", () => sortBy(table, column, heading));
  });
}
drawAll();
dark.addEventListener("change", drawAll);
