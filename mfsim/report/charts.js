"use strict";
// Drawing with plotly.js: what all plots share, and the charts of a study.

const LOOKS = [
  // Of Okabe and Ito; in grey told apart by symbol and dash, as on paper.
  { color: "#0072B2", symbol: "circle", dash: "solid" },
  { color: "#D55E00", symbol: "square-open", dash: "dash" },
  { color: "#009E73", symbol: "triangle-up", dash: "dashdot" },
  { color: "#CC79A7", symbol: "diamond", dash: "dot" },
  { color: "#E69F00", symbol: "triangle-down-open", dash: "longdash" },
  { color: "#56B4E9", symbol: "cross", dash: "longdashdot" },
  { color: "#000000", symbol: "x", dash: "dot" },
];
const DASHES = ["dash", "dot", "dashdot", "longdash", "longdashdot"];

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

// plotly reads some HTML in texts; those of files are shown as they are.
function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

// A label in lines of at most so many letters, as plotly breaks none.
function lines(text, most) {
  const made = [""];
  for (const part of String(text).split(" ")) {
    const last = made[made.length - 1];
    if (last && last.length + part.length >= most) made.push(part);
    else made[made.length - 1] = last ? `${last} ${part}` : part;
  }
  return made.map(plain).join("<br>");
}

function layoutOf(xLabel, yLabel, xScale, yScale, title = "") {
  const axis = {
    gridcolor: "#e5e5e5", linecolor: "#333", showline: true, ticks: "outside",
    zeroline: false, automargin: true, exponentformat: "power", minorloglabels: "none",
  };
  return {
    font: { family: "system-ui, 'DejaVu Sans', sans-serif", size: 13, color: "#1c1c1c" },
    title: { text: plain(title), font: { size: 14 }, x: 0, xref: "paper", xanchor: "left", y: 0.99, yanchor: "top" },
    xaxis: { ...axis, ...xScale, title: { text: lines(xLabel, 50), font: { size: 14 } } },
    yaxis: { ...axis, ...yScale, title: { text: lines(yLabel, 36), font: { size: 14 }, standoff: 10 } },
    margin: { l: 60, r: 15, t: title ? 34 : 12, b: 50 },
    // Below the axis: nothing of the data is covered.
    legend: { orientation: "h", x: 0, y: -0.24, yanchor: "top", font: { size: 12 } },
    paper_bgcolor: "#fff", plot_bgcolor: "#fff", hovermode: "closest", showlegend: true,
    hoverlabel: { namelength: -1 },
  };
}

function draw(place, traces, layout) {
  const config = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false };
  return Plotly.react(place, traces, layout, config);
}

// An axis on a scale that its values allow, with ticks that are read at a glance.
function scaleFor(wanted, values) {
  const positive = values.filter((value) => value > 0);
  const linear = { type: "linear", dtick: null, tickformat: "" };
  if (wanted !== "log" || !positive.length) return linear;
  const low = positive.reduce((a, b) => Math.min(a, b));
  const high = positive.reduce((a, b) => Math.max(a, b));
  const isPlain = low > 9e-4 && high < 1.1e5;
  // "D2" is 1, 2, 5, 10, …; 1 is powers of ten.
  const dtick = high < 300 * low ? "D2" : high < 1e7 * low ? 1 : null;
  return { type: "log", dtick, tickformat: isPlain ? "~g" : "" };
}

function scaleButton(axis, place, start, after = () => {}) {
  let isLog;
  const told = element("button", { type: "button", "data-scale": axis }, `log ${axis}`);
  told.press = (type) => {
    isLog = type === "log";
    told.setAttribute("aria-pressed", String(isLog));
  };
  told.press(start);
  told.addEventListener("click", () => {
    told.press(isLog ? "linear" : "log");
    const scale = scaleFor(isLog ? "log" : "linear", place.data.flatMap((trace) => trace[axis]));
    const changes = { [`${axis}axis.autorange`]: true };
    for (const [name, value] of Object.entries(scale)) changes[`${axis}axis.${name}`] = value;
    after(isLog ? "log" : "linear");
    Plotly.relayout(place, changes);
  });
  return told;
}

function imageButtons(place, name) {
  return ["png", "svg"].map((format) => element("button", {
    type: "button",
    onclick: () => Plotly.downloadImage(place, { format, filename: name, width: 800, height: 560, scale: format === "png" ? 2 : 1 }),
  }, `save ${format.toUpperCase()}`));
}

function bars(values, low, high, color) {
  if (!low || !high) return { visible: false };
  const apart = (a, b) => (a === null || b === null ? 0 : Math.max(0, a - b));
  return {
    type: "data", symmetric: false, color, thickness: 1.2, width: 3,
    array: values.map((value, i) => apart(high[i], value)),
    arrayminus: values.map((value, i) => apart(value, low[i])),
  };
}

function hoverTexts(curve) {
  return curve.y.map((_, i) => (curve.low && curve.high && curve.low[i] !== null
    ? `<br>95 %: [${curve.low[i]}, ${curve.high[i]}]` : ""));
}

function curveTraces(curves) {
  let looks = 0;
  let dashes = 0;
  return curves.map((curve) => {
    const trace = {
      type: "scatter", name: plain(curve.label), x: curve.x, y: curve.y, showlegend: curve.label !== "",
      text: hoverTexts(curve), hovertemplate: "x = %{x:.5~g}<br>y = %{y:.5~g}%{text}",
    };
    if (curve.look === "reference") {
      const dash = DASHES[dashes++ % DASHES.length];
      return { ...trace, mode: "lines", line: { color: "#555", width: 1.2, dash } };
    }
    const look = LOOKS[looks++ % LOOKS.length];
    return {
      ...trace,
      mode: { both: "lines+markers", line: "lines", points: "markers" }[curve.look],
      line: { color: look.color, width: 1.8, dash: look.dash },
      marker: { color: look.color, symbol: look.symbol, size: 8 },
      error_y: bars(curve.y, curve.low, curve.high, look.color),
    };
  });
}

function markShapes(marks) {
  return marks.flatMap((mark) => {
    const whole = { yref: "paper", y0: 0, y1: 1, layer: "below" };
    const line = {
      ...whole, type: "line", x0: mark.x, x1: mark.x, line: { color: "#333", width: 1.2 },
      name: plain(mark.label), showlegend: mark.label !== "",
    };
    if (mark.low === null || mark.high === null) return [line];
    return [{ ...whole, type: "rect", x0: mark.low, x1: mark.high, fillcolor: "#ddd", line: { width: 0 } }, line];
  });
}

function mapTraces(map) {
  return map.regions.map((region, at) => {
    const chosen = map.region.flatMap((name, i) => (name === region ? [i] : []));
    const look = LOOKS[at % LOOKS.length];
    return {
      type: "scatter", mode: "markers", name: plain(region),
      x: chosen.map((i) => map.x[i]), y: chosen.map((i) => map.y[i]),
      marker: { color: look.color, symbol: look.symbol, size: 11, line: { width: 2, color: look.color } },
      hovertemplate: "x = %{x:.5~g}<br>y = %{y:.5~g}",
    };
  }).filter((trace) => trace.x.length);
}

// Its place first: all panels of a chart share the width before one is drawn.
function buildPanel(panel, parent, name) {
  const isMap = "regions" in panel;
  const curves = isMap ? [] : panel.curves;
  const scale = (axis) => scaleFor(isMap ? "linear" : panel[`${axis}_scale`], curves.flatMap((curve) => curve[axis]));
  const [xScale, yScale] = [scale("x"), scale("y")];
  const place = element("div", { class: "plot" });
  const tools = element("div", { class: "tools" });
  parent.append(element("div", { class: "panel" }, tools, place));
  const layout = layoutOf(panel.x_label, panel.y_label, xScale, yScale, panel.title);
  if (!isMap) {
    layout.shapes = markShapes(panel.marks);
    tools.append(scaleButton("x", place, xScale.type), scaleButton("y", place, yScale.type));
  }
  tools.append(...imageButtons(place, name));
  return () => draw(place, isMap ? mapTraces(panel) : curveTraces(curves), layout);
}

async function drawChart(figure, chart) {
  const parent = figure.querySelector(".panels");
  figure.classList.add("drawn");
  const draws = chart.panels.map((panel) => buildPanel(panel, parent, chart.name));
  for (const drawPanel of draws) await drawPanel();
}
