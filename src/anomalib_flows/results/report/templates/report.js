"use strict";
const $ = (id) => document.getElementById(id);
const json = (id) => JSON.parse($(id).textContent);
const PAGE = 60; // images that are shown at once
const facts = json("facts");
const FIELDS = ["path", "position", "score", "p", "label", "truth", "defect"];
const record = (row) => Object.fromEntries(row.map((value, i) => [FIELDS[i], value]));
const rows = json("rows").map((row, number) => ({ number, ...record(row) }));
const folder = commonFolder(rows.map((row) => row.path));
let cut = null; // threshold of this page; null for the labels that the model gave
let chosen = [], limit = PAGE, shown = 0; // rows behind the filters, tiles, row of the viewer

/** Return the folder that all paths are in, with a slash at its end. */
function commonFolder(paths) {
  let common = paths.length ? paths[0] : "";
  for (const path of paths) while (!path.startsWith(common)) common = common.slice(0, -1);
  return common.slice(0, Math.max(common.lastIndexOf("/"), common.lastIndexOf("\\")) + 1);
}
const shortName = (row) => row.path.slice(folder.length);

// Decisions
const called = (row) => (cut === null ? row.label : Number(row.position > cut));
const outcome = (row) =>
  row.truth === null ? "" : row.truth === called(row) ? "correct" : row.truth ? "missed" : "false alarm";
const isWrong = (row) => ["missed", "false alarm"].includes(outcome(row));
const word = (row) => outcome(row) || (called(row) ? "anomalous" : "normal");

/** Clopper-Pearson interval of a rate of which k of n are a sample, with a confidence of 95 %. */
function interval(k, n) {
  const factorial = [0];
  for (let i = 1; i <= n; i++) factorial.push(factorial[i - 1] + Math.log(i));
  const atMost = (most, p) => {
    let sum = 0;
    for (let i = 0; i <= most; i++)
      sum += Math.exp(factorial[n] - factorial[i] - factorial[n - i] + i * Math.log(p) + (n - i) * Math.log1p(-p));
    return sum;
  };
  const rateWhere = (most, level) => {
    let low = 0, high = 1;
    for (let i = 0; i < 40; i++) {
      const middle = (low + high) / 2;
      if (atMost(most, middle) > level) low = middle;
      else high = middle;
    }
    return low;
  };
  return [k ? rateWhere(k - 1, 0.975) : 0, k < n ? rateWhere(k, 0.025) : 1];
}

const percent = (rate) => (rate < 0.995 ? Number((100 * rate).toPrecision(2)) : 100) + " %";
function rate(k, n) {
  if (!n) return "unknown";
  const [low, high] = interval(k, n);
  return `${percent(k / n)} (95 % interval ${percent(low)} to ${percent(high)})`;
}

// Threshold
function showCounts() {
  const value = cut ?? 0.5;
  $("cut").setAttribute("transform", `translate(${(1000 * (value - facts.low)) / (facts.high - facts.low)} 0)`);
  $("cut-value").textContent = value.toFixed(3);
  $("cut-slider").setAttribute("aria-valuetext", value.toFixed(3));
  $("cut-reset").disabled = cut === null;
  const command = $("calibrate");
  if (command) {
    command.textContent = `${command.dataset.command} ${value.toFixed(3)}`;
    $("calibration").hidden = !(Number(value.toFixed(3)) > 0 && Number(value.toFixed(3)) < 1); // what calibrate takes
  }
  const count = (truth, label) => rows.filter((row) => row.truth === truth && called(row) === label).length;
  if (!facts.labelled) {
    const anomalous = count(null, 1);
    const share = percent(anomalous / Math.max(rows.length, 1));
    $("called").textContent = `${anomalous} of ${rows.length} images called anomalous (${share})`;
    return;
  }
  const [alarms, normal, missed, found] = [count(0, 1), count(0, 0), count(1, 0), count(1, 1)];
  const rates = { "false-alarm-rate": rate(alarms, alarms + normal), "missed-rate": rate(missed, missed + found) };
  const texts = { "false-alarms": alarms, "true-normal": normal, missed, found, ...rates };
  for (const [id, text] of Object.entries(texts)) $(id).textContent = text;
}

function moveCut(value) {
  cut = value;
  if (value === null) $("cut-slider").value = 0.5;
  showCounts();
  choose();
}

// Wall of images
const value = (id) => ($(id) ? $(id).value : "");
const kinds = [...new Set(rows.filter((row) => row.truth).map((row) => row.defect))].sort();
for (const kind of kinds.length ? ["good", ...kinds] : []) $("defect")?.append(new Option(kind));

const ORDERS = {
  // Wrong ones first, of these the farthest from the threshold; then the nearest ones.
  wrong: (row) => [isWrong(row) ? 0 : 1, Math.abs(row.position - (cut ?? 0.5)) * (isWrong(row) ? -1 : 1)],
  high: (row) => [-row.position],
  low: (row) => [row.position],
  name: (row) => [row.path],
};

function choose() {
  const [decision, defect, label, name] = ["decision", "defect", "label", "name"].map(value);
  const key = ORDERS[value("order")];
  chosen = rows
    .filter((row) => !decision || (decision === "wrong" ? isWrong(row) : outcome(row) === decision))
    .filter((row) => !defect || (row.truth ? row.defect : "good") === defect)
    .filter((row) => !label || called(row) === Number(label))
    .filter((row) => row.path.toLowerCase().includes(name.toLowerCase()))
    .map((row) => [row, key(row)])
    .sort(([, a], [, b]) => a.reduce((sign, one, i) => sign || (one < b[i] ? -1 : one > b[i] ? 1 : 0), 0))
    .map(([row]) => row);
  showWall();
}

const tiles = new Map();
function tileOf(row) {
  if (!tiles.has(row)) {
    const tile = $("tile").content.firstElementChild.cloneNode(true);
    tile.querySelector(".picture").append(picture(row, ["photo", "heatmap", "mask", "truth"]));
    tile.querySelector(".tile-name").textContent = shortName(row);
    tile.querySelector(".tile-kind").textContent = row.truth ? row.defect : "";
    tile.querySelector(".score").textContent = row.score.toFixed(3);
    tile.addEventListener("click", () => view(chosen.indexOf(row)));
    tiles.set(row, tile);
  }
  const tile = tiles.get(row);
  tile.querySelector(".badge").textContent = word(row);
  tile.classList.toggle("wrong", isWrong(row));
  tile.title = row.path;
  tile.setAttribute("aria-label", `${shortName(row)}, score ${row.score.toFixed(3)}, ${word(row)}`);
  return tile;
}

function showWall() {
  $("wall").replaceChildren(...chosen.slice(0, limit).map(tileOf));
  const place = folder && `, of ${folder}`;
  $("shown").textContent = `${Math.min(limit, chosen.length)} of ${chosen.length} images shown${place}.`;
  $("more").hidden = chosen.length <= limit;
}

/** Lay some of the pictures of an image over each other. */
function picture(row, layers) {
  const source = $(`thumbnail-${row.number}`);
  const stack = document.createElement("span");
  if (!source) {
    stack.textContent = "no picture kept";
    return stack;
  }
  const thumbnail = JSON.parse(source.textContent);
  const [height, width] = thumbnail.size;
  stack.className = height > width ? "stack tall" : "stack";
  stack.style.setProperty("--ratio", width / height);
  for (const layer of layers.filter((name) => thumbnail[name])) {
    const kind = ["photo", "heatmap"].includes(layer) ? "webp" : "png";
    const src = `data:image/${kind};base64,${thumbnail[layer]}`;
    stack.append(Object.assign(new Image(), { src, alt: "", className: layer }));
  }
  return stack;
}

// Viewer of one image
function view(index) {
  if (index < 0 || index >= chosen.length) return;
  shown = index;
  const row = chosen[index];
  $("viewer-title").textContent = shortName(row);
  const truth = row.truth === null ? "" : `truth: ${row.truth ? row.defect : "good"}, `;
  $("viewer-facts").textContent =
    `${index + 1} of ${chosen.length}: ${word(row)}; ${truth}score ${row.score.toFixed(3)}, ` +
    `p-value ${Number(row.p.toPrecision(3))}`;
  $("viewer-link").hidden = !/^(\/|[A-Za-z]:\\)/.test(row.path); // a relative path has another root here
  $("viewer-link").href = "file:///" + row.path.replace(/^\//, "").split(/[/\\]/).map(encodeURIComponent).join("/");
  const all = { "photo": ["photo"], "heatmap and predicted mask": ["photo", "heatmap", "mask"] };
  if (facts.labelled) all["ground truth"] = ["photo", "truth"];
  const panes = $("side").checked ? all : { "": ["photo", "heatmap", "mask", "truth"] };
  $("panes").replaceChildren(...Object.entries(panes).map(([title, layers]) => pane(row, title, layers)));
  $("previous").disabled = index === 0;
  $("next").disabled = index === chosen.length - 1;
  if (!$("viewer").open) $("viewer").showModal();
}

function pane(row, title, layers) {
  const figure = Object.assign(document.createElement("figure"), { className: "pane" });
  const frame = Object.assign(document.createElement("div"), { className: "frame", tabIndex: 0 });
  frame.append(picture(row, layers));
  frame.addEventListener("scroll", () => {
    for (const other of document.querySelectorAll(".frame")) other.scrollTo(frame.scrollLeft, frame.scrollTop);
  });
  figure.append(frame, Object.assign(document.createElement("figcaption"), { textContent: title }));
  return figure;
}

function zoomTo(value) {
  $("zoom").value = value;
  $("panes").style.setProperty("--zoom", $("zoom").value);
}

function setOpacity(event) {
  document.documentElement.style.setProperty("--heat", event.target.value);
  for (const id of ["opacity", "viewer-opacity"]) $(id).value = event.target.value;
}

const KEYS = {
  ArrowLeft: () => view(shown - 1),
  ArrowRight: () => view(shown + 1),
  "+": () => zoomTo(Number($("zoom").value) + 0.5),
  "-": () => zoomTo(Number($("zoom").value) - 0.5),
  s: () => $("side").click(),
};

// Events
$("cut-slider").addEventListener("input", (event) => moveCut(Number(event.target.value)));
$("cut-reset").addEventListener("click", () => moveCut(null));
$("filters").addEventListener("input", () => { limit = PAGE; choose(); });
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("more").addEventListener("click", () => {
  const before = limit;
  limit += PAGE;
  showWall();
  $("wall").children[before]?.focus();
});
for (const id of ["opacity", "viewer-opacity"]) $(id).addEventListener("input", setOpacity);
for (const layer of ["mask", "truth"])
  $(`show-${layer}`)?.addEventListener("change", (event) =>
    document.body.classList.toggle(`hide-${layer}`, !event.target.checked));
$("close").addEventListener("click", () => $("viewer").close());
$("viewer").addEventListener("close", () => $("wall").children[shown]?.focus());
$("previous").addEventListener("click", KEYS.ArrowLeft);
$("next").addEventListener("click", KEYS.ArrowRight);
$("side").addEventListener("change", () => view(shown));
$("zoom").addEventListener("input", (event) => zoomTo(event.target.value));
$("viewer").addEventListener("keydown", (event) => {
  const sliding = event.target.type === "range" && event.key.startsWith("Arrow");
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!sliding && KEYS[key] && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    KEYS[key]();
  }
});
$("panes").addEventListener("dblclick", () => zoomTo(Number($("zoom").value) > 1 ? 1 : 3));
let touched = null;
$("panes").addEventListener("touchstart", (event) => {
  touched = event.touches.length === 1 && Number($("zoom").value) === 1 ? event.touches[0].clientX : null;
}, { passive: true });
$("panes").addEventListener("touchend", (event) => {
  const moved = touched === null ? 0 : event.changedTouches[0].clientX - touched;
  if (Math.abs(moved) > 50) view(shown + (moved < 0 ? 1 : -1));
});

moveCut(null);
