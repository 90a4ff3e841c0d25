// The list of arms, legends, tables, what is said of an arm, and the filter of verdicts.
const SVG = "http://www.w3.org/2000/svg";
const tableRows = new Map(); // arm -> rows of tables
const swatches = [];

function swatch(index) {
  const [colour, , dash] = DATA.arms[index].style, drawing = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "line");
  drawing.setAttribute("class", "swatch");
  drawing.setAttribute("aria-hidden", "true");
  for (const [name, value] of Object.entries({ x1: 0, x2: 26, y1: 6, y2: 6, "stroke-width": 3 })) line.setAttribute(name, value);
  if (DASHES[dash]) line.setAttribute("stroke-dasharray", DASHES[dash]);
  drawing.append(line);
  swatches.push([line, colour]);
  return drawing;
}

function paintSwatches() {
  const palette = PALETTE[isDark() ? "dark" : "light"];
  for (const [line, colour] of swatches) line.setAttribute("stroke", palette[colour]);
}

function armButton(index, text) {
  const button = element("button", { type: "button", "aria-pressed": "false", "data-choose": index }, swatch(index), text);
  button.addEventListener("click", () => toggleArm(index));
  return button;
}

function makeList() {
  const list = $("list");
  DATA.arms.forEach((arm, index) => {
    const box = element("input", { type: "checkbox", "aria-label": `Show ${arm.label}` });
    box.addEventListener("change", () => {
      box.checked ? state.hidden.delete(index) : state.hidden.add(index);
      changed("hidden");
    });
    list.append(element("li", { "data-item": index }, box, armButton(index, arm.label)));
  });
}

function makeLegends() {
  for (const list of document.querySelectorAll("[data-legend]")) {
    const view = DATA.views[DATA.charts[list.dataset.legend].view], arms = Object.keys(view.labels).map(Number);
    if (arms.length <= 24) for (const index of arms) list.append(element("li", {}, armButton(index, view.labels[index])));
    else list.append(element("li", {}, `${arms.length} arms: choose some in the list of arms, or click a line.`));
  }
}

function found() {
  const words = state.find.toLowerCase().split(/\s+/).filter(Boolean);
  return DATA.arms.map((arm) => words.every((word) => arm.label.toLowerCase().includes(word)));
}

function showArms() {
  const is = found();
  for (const item of $("list").children) {
    const index = Number(item.dataset.item);
    item.hidden = !is[index];
    item.firstChild.checked = !state.hidden.has(index);
  }
  $("counts").textContent = `${DATA.arms.length - state.hidden.size} of ${DATA.arms.length} shown, ${state.arms.size} chosen`;
  if ($("search").value !== state.find) $("search").value = state.find;
  for (const button of document.querySelectorAll("[data-choose]")) {
    const index = Number(button.dataset.choose), pressed = String(state.arms.has(index));
    if (button.getAttribute("aria-pressed") !== pressed) button.setAttribute("aria-pressed", pressed);
    const item = button.parentElement;
    if (item.parentElement.className === "legend") item.hidden = state.hidden.has(index);
  }
}

function showRows() {
  for (const mask of document.querySelectorAll("[data-arms]")) {
    mask.classList.toggle("chosen", mask.dataset.arms.split(" ").some((arm) => state.arms.has(Number(arm))));
  }
  for (const [arm, rows] of tableRows) {
    const chosenNow = state.arms.has(arm), hiddenNow = state.hidden.has(arm);
    for (const row of rows) {
      if (row.classList.contains("chosen") !== chosenNow) row.classList.toggle("chosen", chosenNow);
      if (row.hidden !== hiddenNow) row.hidden = hiddenNow;
    }
  }
}

let shownLength = 0;
function showLength() {
  $("length").value = String(state.length);
  if (shownLength === state.length) return;
  shownLength = state.length;
  for (const cell of document.querySelectorAll("td.chosen, th.chosen[data-place]")) cell.classList.remove("chosen");
  for (const head of document.querySelectorAll("th[data-place]")) {
    if (!state.length || Number(head.dataset.place) !== state.length) continue;
    head.classList.add("chosen");
    for (const row of head.closest("table").tBodies[0].rows) row.cells[head.cellIndex].classList.add("chosen");
  }
}

function makeLengths() {
  const places = new Set(Object.values(DATA.views).flatMap((view) => (view.length ? view.places : [])));
  const options = [...places].sort((a, b) => a - b).map((place) => element("option", { value: place }, String(place)));
  $("length").append(element("option", { value: 0 }, "the longest"), ...options);
  $("length").addEventListener("change", () => { state.length = Number($("length").value); changed("length"); });
}

function makeControls() {
  for (const place of document.querySelectorAll("[data-controls]")) {
    const chart = DATA.charts[place.dataset.controls];
    if (chart.kind !== "cost") continue;
    const id = `cost-${place.dataset.controls}`, select = element("select", { id });
    for (const kind of chart.kinds) select.append(element("option", { value: kind }, DATA.costs[kind]));
    select.addEventListener("change", () => { chart.kind_shown = select.value; refreshCharts(); });
    place.append(element("label", { for: id }, "Horizontal axis"), select);
  }
}

function pairs(list, ...items) {
  for (const [name, value] of items) list.append(element("dt", {}, name), element("dd", {}, ...[value].flat()));
  return list;
}

function aboutArm() {
  const index = Number($("arm").value), other = Number($("against").value), arm = DATA.arms[index], box = $("about-arm");
  const lines = (texts) => (texts.length ? texts.map((text) => element("div", {}, element("code", {}, text))) : ["not recorded"]);
  const again = arm.again.length ? ["Run this arm again with", lines(arm.again)] : ["Run its experiment again with", lines(arm.commands)];
  const links = arm.links.map((url) => element("a", { href: url, rel: "noopener noreferrer" }, url));
  const list = pairs(element("dl"), ["Experiment", arm.experiment], ["Seeds", arm.seeds.join(", ")],
    ["Fingerprint", element("code", {}, arm.fingerprint)], again, ["W&B", links.length ? links : "not logged"]);
  const differing = Object.entries(DATA.settings.differing).filter(([, { of }]) => of[index] !== of[other]);
  const table = element("table", { class: "sentences" }, element("caption", {},
    index === other ? "Choose another arm to compare the settings." : `${differing.length} settings differ from those of ${DATA.arms[other].label}`));
  const head = element("tr");
  for (const text of ["setting", arm.label, DATA.arms[other].label]) head.append(element("th", { scope: "col" }, text));
  const body = element("tbody");
  for (const [key, { values, of }] of differing) {
    body.append(element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, values[of[index]]), element("td", {}, values[of[other]])));
  }
  if (differing.length) table.append(element("thead", {}, head), body);
  box.replaceChildren(list, element("div", { class: "wide", role: "region", tabindex: "0", "aria-label": "Settings that differ" }, table));
}

function filterClaims() {
  const verdict = $("verdict").value, words = $("claim").value.toLowerCase();
  let count = 0;
  for (const row of document.querySelectorAll("[data-verdicts]")) {
    row.hidden = (verdict && !row.dataset.verdicts.split("|").includes(verdict)) || !row.textContent.toLowerCase().includes(words);
    count += !row.hidden;
  }
  $("claims-shown").textContent = `${count} shown`;
}
