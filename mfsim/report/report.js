"use strict";
// The page comes alive: tables sort, downloads get their addresses, plots are drawn.

let DATA;

// Data and plotly.js are in the page as gzip and base64, a third of their size.
async function inflated(id) {
  const letters = atob(document.getElementById(id).textContent);
  const bytes = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

async function load() {
  DATA = JSON.parse(await inflated("data"));
  const script = document.createElement("script");
  script.textContent = await inflated("plotly");
  document.head.append(script);
}

function sortKey(cell) {
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const text = cell.textContent.trim();
  return text === "–" || text === "" ? null : text;
}

// Numbers by size, words by letter, what is not there at the end.
function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const isUp = heads[column].getAttribute("aria-sort") !== "ascending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", isUp ? "ascending" : "descending");
  const body = table.tBodies[0];
  const key = (row) => sortKey(row.cells[column]);
  const rows = [...body.rows].sort((a, b) => {
    const [left, right] = [key(a), key(b)];
    const isMissing = left === null || right === null;
    return compare(left, right) * (isUp || isMissing ? 1 : -1);
  });
  body.append(...rows);
}

function startTables() {
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => sortBy(table, column));
    });
  }
}

function startDownloads() {
  for (const link of document.querySelectorAll("a.picture")) {
    link.href = link.closest("figure").querySelector("img").src;
  }
}

async function start() {
  startTables();
  startDownloads();
  try {
    await load();
  } catch (error) {
    const text = "This browser cannot draw the interactive charts: " + error.message;
    document.querySelector("main").prepend(Object.assign(document.createElement("p"), { textContent: text }));
    return;
  }
  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    await drawChart(figure, DATA.charts[Number(figure.dataset.chart)]);
  }
  for (const section of document.querySelectorAll("[data-explorer]")) {
    buildExplorer(section, DATA.explorers[Number(section.dataset.explorer)]);
  }
  document.body.dataset.ready = "yes";
}

start();
