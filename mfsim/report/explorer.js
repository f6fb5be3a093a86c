"use strict";
// The explorer: any series of any runs, against time or what was swept; neurons in time.

const CLOCKS = ["step", "time", "kernel_time"];

function named(series, name) {
  const told = series[name];
  const unit = told.unit === "1" ? "" : ` [${told.unit}]`;
  const symbol = told.symbol && told.symbol !== name ? `${told.symbol}, ` : "";
  return `${symbol}${name}${unit}`;
}

const SYMBOLS = { alpha: "α", temperature: "λ", width: "m", num_train: "n", step: "η", eta: "η" };

function axisName(key) {
  const symbol = SYMBOLS[key.split(".").pop()];
  return symbol ? `${key} ${symbol}` : key;
}

function word(value) {
  if (typeof value !== "number") return String(value);
  const short = Number(value.toPrecision(4));
  return short !== 0 && Math.abs(short) < 1e-3 ? short.toExponential() : String(short);
}

// Viridis up to 0.85, dark enough for lines on white.
const SHADES = [[68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140], [40, 174, 128], [94, 201, 98]];

function shade(at, count) {
  const place = count > 1 ? (at / (count - 1)) * (SHADES.length - 1) : 0;
  const low = Math.min(Math.floor(place), SHADES.length - 2);
  const mixed = SHADES[low].map((value, i) => Math.round(value + (place - low) * (SHADES[low + 1][i] - value)));
  return `rgb(${mixed.join(",")})`;
}

function meanAndHalf(values) {
  const found = values.filter((value) => value !== null && value !== undefined);
  if (!found.length) return { mean: null, half: null, count: 0 };
  const mean = found.reduce((a, b) => a + b, 0) / found.length;
  if (found.length < 2) return { mean, half: null, count: 1 };
  const squares = found.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const error = Math.sqrt(squares / (found.length - 1) / found.length);
  const student = DATA.student[Math.min(found.length - 2, DATA.student.length - 1)];
  return { mean, half: student * error, count: found.length };
}

function isVaried(runs, key) {
  return runs.some((run) => run.values[key] !== runs[0].values[key]);
}

// Lines: runs that differ in their seeds alone, named by what tells the lines apart.
function grouped(runs, keys) {
  const groups = new Map();
  for (const run of runs) {
    const label = keys.map((key) => `${key} = ${word(run.values[key])}`).join(", ");
    if (!groups.has(label)) groups.set(label, []);
    groups.get(label).push(run);
  }
  return groups;
}

// Rows of the runs of one group, seed beside seed, as far as all go.
function meanCurve(runs, x, y) {
  const has = runs.filter((run) => run.series[y]);
  if (!has.length) return null;
  const rows = Math.min(...has.map((run) => run.series[y].length));
  const index = [...Array(rows).keys()];
  const found = index.map((i) => meanAndHalf(has.map((run) => run.series[y][i])));
  return {
    x: index.map((i) => meanAndHalf(has.map((run) => run.series[x][i])).mean),
    y: found.map((each) => each.mean), half: found.map((each) => each.half), count: has.length,
  };
}

function lastValue(run, name) {
  const row = run.series[name] || [];
  return row.length ? row[row.length - 1] : null;
}

function finalCurve(runs, x, y) {
  const places = [...new Set(runs.map((run) => run.values[x]))].sort((a, b) => a - b);
  const found = places.map((place) => meanAndHalf(
    runs.filter((run) => run.values[x] === place).map((run) => lastValue(run, y))));
  const count = Math.max(...found.map((each) => each.count));
  return { x: places, y: found.map((each) => each.mean), half: found.map((each) => each.half), count };
}

function explorerTraces(data, chosen, x, y) {
  const isTime = CLOCKS.includes(x);
  const keys = data.keys.filter((key) => key !== x && isVaried(chosen, key));
  const groups = [...grouped(chosen, keys)];
  return groups.flatMap(([label, runs], at) => {
    const curve = isTime ? meanCurve(runs, x, y) : finalCurve(runs, x, y);
    if (!curve) return [];
    const few = groups.length <= LOOKS.length;
    const look = LOOKS[at % LOOKS.length];
    const color = few ? look.color : shade(at, groups.length);
    const name = plain(label || "all runs") + (curve.count > 1 ? ` (${curve.count} seeds)` : "");
    return [{
      type: "scatter", mode: "lines+markers", name, x: curve.x, y: curve.y,
      line: { color, width: 1.6, dash: look.dash }, marker: { color, symbol: look.symbol, size: isTime ? 5 : 8 },
      error_y: { type: "data", array: curve.half.map((half) => half ?? 0), visible: curve.count > 1, color, thickness: 1, width: 2 },
      text: curve.half.map((half) => (half === null ? "" : ` ± ${half.toPrecision(2)}`)),
      hovertemplate: "x = %{x:.5~g}<br>y = %{y:.5~g}%{text}",
    }];
  });
}

function select(label, options, change, name) {
  const made = element("select", { "data-name": name, onchange: change });
  for (const [value, text] of options) made.append(element("option", { value }, text));
  return { made, told: element("label", {}, label, made) };
}

// Boxes for a swept quantity: which of its values are shown.
function filter(data, key, change) {
  const values = [...new Set(data.runs.map((run) => run.values[key]))];
  if (values.every((value) => typeof value === "number")) values.sort((a, b) => a - b);
  const boxes = values.map((value) => ({ value, box: element("input", { type: "checkbox", checked: true, onchange: change }) }));
  const set = (isShown) => boxes.forEach((each) => { each.box.checked = isShown(each.value); });
  const all = element("button", { type: "button", onclick: () => { set(() => true); change(); } }, "all");
  const labels = boxes.map((each) => element("label", {}, each.box, word(each.value)));
  const part = element("fieldset", { "data-key": key }, element("legend", {}, `${axisName(key)} shown`), ...labels, all);
  const shows = (value) => boxes.some((each) => each.value === value && each.box.checked);
  return { key, values, part, set, shows };
}

const MANY = 10;

// Few lines to start with: alpha whole, of the last keys the middle value alone.
function startFilters(filters, x) {
  const order = filters.filter((each) => each.key !== x).sort((a, b) => isAlpha(b.key) - isAlpha(a.key));
  let lines = order.reduce((product, each) => product * each.values.length, 1);
  for (const each of order.reverse()) {
    if (lines <= MANY) return;
    const middle = each.values[Math.floor(each.values.length / 2)];
    each.set((value) => value === middle);
    lines /= each.values.length;
  }
}

function isAlpha(key) {
  return Number(key.split(".").pop() === "alpha");
}

// Greatest over least of values that are all positive.
function spread(values) {
  const found = values.filter((value) => value !== null);
  const least = found.reduce((a, b) => Math.min(a, b), Infinity);
  return least > 0 ? found.reduce((a, b) => Math.max(a, b), 0) / least : 0;
}

// Whether half of the places lie in the lower third of an axis from 0.
function isCrowded(values) {
  const found = [...new Set(values.filter((value) => value > 0))].sort((a, b) => a - b);
  return found.length > 1 && 3 * found[Math.floor((found.length - 1) / 2)] <= found[found.length - 1];
}

function buildExplorer(section, data) {
  const place = element("div", { class: "plot" });
  const told = element("p", { class: "told" });
  const names = Object.keys(data.series).filter((name) => !CLOCKS.includes(name)).sort();
  if (!names.length) {
    section.append(element("p", {}, "These runs recorded no series of one number a save."));
    return;
  }
  const swept = data.keys.filter((key) => data.runs.every((run) => typeof run.values[key] === "number"));
  const scales = { x: "linear", y: "linear" };
  let shown = "";
  const update = () => {
    const [x, y] = [against.made.value, observable.made.value];
    const isNew = `${x} ${y}` !== shown;
    shown = `${x} ${y}`;
    const isShown = (run) => chosen.every((each) => each.shows(run.values[each.key]));
    const runs = data.runs.filter(isShown);
    const traces = explorerTraces(data, runs, x, y);
    const fixed = chosen.filter(({ key }) => key !== x && runs.length && !isVaried(runs, key));
    const at = fixed.map(({ key }) => ` ${key} = ${word(runs[0].values[key])}.`).join("");
    const xLabel = CLOCKS.includes(x) ? named(data.series, x) : axisName(x);
    if (isNew) {
      scales.x = isCrowded(traces.flatMap((trace) => trace.x)) ? "log" : "linear";
      scales.y = spread(traces.flatMap((trace) => trace.y)) > 30 ? "log" : "linear";
      buttons.forEach((button) => button.press(scales[button.dataset.scale]));
    }
    const layout = layoutOf(xLabel, named(data.series, y),
      scaleFor(scales.x, traces.flatMap((trace) => trace.x)), scaleFor(scales.y, traces.flatMap((trace) => trace.y)));
    layout.legend = { font: { size: 11 }, ...(section.clientWidth < 800 ? layout.legend : {}) };
    const what = CLOCKS.includes(x) ? "Means over seeds" : "Last values, means over seeds";
    told.textContent = `${data.series[y].description.replace(/\.$/, "")}. ${what}; bars: 95 % intervals by Student's t where there are two seeds or more.${at}`;
    draw(place, traces, layout);
  };
  const observable = select("observable", names.map((name) => [name, named(data.series, name)]), update, "observable");
  const clocks = CLOCKS.map((name) => [name, named(data.series, name)]);
  const against = select("against", [...swept.map((key) => [key, `${key} (last values)`]), ...clocks], update, "against");
  const chosen = data.keys.map((key) => filter(data, key, update)).filter((each) => each.values.length > 1);
  if (names.includes("train_risk")) observable.made.value = "train_risk";
  if (!swept.length) against.made.value = "time";
  if (swept.some(isAlpha)) against.made.value = swept.find(isAlpha);
  startFilters(chosen, against.made.value);
  const buttons = ["x", "y"].map((axis) => scaleButton(axis, place, scales[axis], (type) => { scales[axis] = type; }));
  section.append(
    element("div", { class: "controls" }, observable.told, against.told, ...buttons, ...imageButtons(place, "runs")),
    element("div", { class: "controls" }, ...chosen.map((each) => each.part)), place, told);
  update();
  if (data.clouds.length) buildCloud(section, data.clouds);
}

function range(rows) {
  const all = rows.flat().filter((value) => value !== null);
  const most = all.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-12);
  return rows.flat().every((value) => value >= 0) ? [0, 1.08 * most] : [-1.08 * most, 1.08 * most];
}

// A snapshot of neurons: output weight, or its norm, against w along its leading direction.
function buildCloud(section, clouds) {
  const place = element("div", { class: "plot cloud" });
  const told = element("output", {});
  const slider = element("input", { type: "range", min: 0, step: 1, value: 0, "aria-label": "snapshot" });
  const update = () => {
    const cloud = clouds[Number(run.made.value)];
    slider.max = cloud.time.length - 1;
    const at = Math.min(Number(slider.value), cloud.time.length - 1);
    const neurons = { type: "scatter", mode: "markers", hovertemplate: `w = %{x}<br>${cloud.up} = %{y}` };
    const start = { ...neurons, name: "start", x: cloud.w[0], y: cloud.u[0], marker: { color: "#8a8a8a", symbol: "circle-open", size: 5 } };
    const now = { ...neurons, name: "at the time of the slider", x: cloud.w[at], y: cloud.u[at], marker: { color: "#0072B2", symbol: "circle", size: 5 } };
    const layout = layoutOf("w along its leading direction [parameter]", `${cloud.up} [parameter]`, {}, {});
    Object.assign(layout.xaxis, { range: range(cloud.w) });
    Object.assign(layout.yaxis, { range: range(cloud.u) });
    told.textContent = `t = ${word(cloud.time[at])}, τ = ${word(cloud.kernel_time[at] ?? "–")}; ${cloud.w[0].length} of ${cloud.total} neurons`;
    draw(place, [start, now], layout);
  };
  slider.addEventListener("input", update);
  const run = select("neurons of", clouds.map((cloud, at) => [at, cloud.label]), () => { slider.value = 0; update(); }, "cloud");
  section.append(element("h4", { class: "bar" }, "Neurons"),
    element("div", { class: "controls" }, run.told, element("label", {}, "time", slider), told), place);
  update();
}
