// Charts are drawn when they are scrolled to, or when the browser has time; a choice changes their rows, not them.
const PALETTE = {
  light: ["#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B87800", "#3A93C4", "#882255", "#787820", "#332288", "#8C510A", "#6E6E6E"],
  dark: ["#FFFFFF", "#56B4E9", "#FF8A47", "#2FCC9F", "#E59CC6", "#F0B84A", "#9AD0F5", "#E07AA8", "#C9C96B", "#A99BFF", "#D9A066", "#B0B0B0"],
};
const DASHES = ["", "7 3", "2 2"];
const drawn = new Map(); // element -> Vega's view
const visible = new Set();
const waiting = new Set();
const stale = new Set(); // drawn, out of sight, and of an earlier choice
const filled = new Map(); // element -> the rows that its view has

function config() {
  const ink = isDark() ? "#e6e8eb" : "#1f2328", grid = isDark() ? "#2c323a" : "#e6e8eb", line = "#8b929a";
  const paper = getComputedStyle(document.body).backgroundColor;
  return {
    background: "transparent", font: "system-ui, sans-serif", padding: 4,
    range: { category: PALETTE[isDark() ? "dark" : "light"] },
    view: { stroke: null }, text: { color: ink, fontSize: 12 },
    style: { halo: { color: paper, stroke: paper, strokeWidth: 4, strokeJoin: "round" } }, // keeps lines off words
    axis: { labelColor: ink, titleColor: ink, gridColor: grid, domainColor: line, tickColor: line, labelFontSize: 12,
      titleFontSize: 12.5, titleFontWeight: "normal", titlePadding: 8 },
    legend: { labelColor: ink, titleColor: ink, titleFontWeight: "normal" },
    header: { labelColor: ink, titleColor: ink, labelFontSize: 12.5, labelFontWeight: 600 },
  };
}

function specOf(chart, width, { data, signals }) {
  const spec = structuredClone(chart.spec);
  spec.datasets = data;
  for (const param of spec.params || []) if (param.name in signals) param.value = signals[param.name];
  if (chart.kind === "lines" && DATA.arms.length > 60) {
    for (const layer of spec.layer) { // of many lines, each expression costs a tenth of a second
      if (layer.data.name !== "rows") continue;
      delete layer.encoding.strokeDash;
      delete layer.encoding.tooltip;
      layer.mark.opacity = signals.faint;
    }
  }
  if (chart.kind === "depths") {
    const lengths = new Set(DATA.views[chart.view].depths.length).size;
    spec.columns = Math.max(1, Math.floor(width / (lengths * 30 + 78)));
  }
  return spec;
}

async function draw(place) {
  waiting.delete(place);
  if (drawn.has(place)) return;
  drawn.set(place, null);
  const chart = DATA.charts[place.dataset.chart], width = place.clientWidth || 640, first = FILL[chart.kind](chart);
  filled.set(place, first.data);
  const result = await vegaEmbed(place, specOf(chart, width, first), {
    ast: true, actions: false, logLevel: 1, renderer: "canvas", defaultStyle: false, config: config(),
    tooltip: { disableDefaultStyle: true },
  });
  const view = result.view;
  view.addEventListener("click", (_event, item) => clicked(chart, item));
  drawn.set(place, view);
  place.dataset.drawn = "yes";
  refresh(place); // what was chosen meanwhile
}

function clicked(chart, item) {
  const row = item && item.datum;
  if (!row || row.arm === undefined) return;
  const length = chart.kind === "depths" ? row.length : chart.kind === "lines" && DATA.views[chart.view].length ? row.place : 0;
  if (length) state.length = length;
  toggleArm(row.arm);
}

function refresh(place) {
  const view = drawn.get(place);
  if (!view) return;
  const { data, signals } = FILL[DATA.charts[place.dataset.chart].kind](DATA.charts[place.dataset.chart]);
  for (const [name, value] of Object.entries(signals)) view.signal(name, value);
  const before = filled.get(place) || {};
  for (const [name, rows] of Object.entries(data)) {
    const same = before[name] === rows || (before[name] && !before[name].length && !rows.length);
    if (!same && view._runtime.data[name]) view.data(name, rows);
  }
  filled.set(place, data);
  stale.delete(place);
  view.runAsync();
}

function refreshCharts() {
  for (const place of drawn.keys()) visible.has(place) ? refresh(place) : stale.add(place);
}

function redrawCharts(kind) {
  for (const [place, view] of [...drawn]) {
    if (!view || (kind && DATA.charts[place.dataset.chart].kind !== kind)) continue;
    view.finalize();
    drawn.delete(place);
    delete place.dataset.drawn;
    visible.has(place) ? draw(place) : waiting.add(place);
  }
  drawWhenIdle();
}

function drawWhenIdle() {
  const next = () => {
    const place = waiting.values().next().value;
    if (!place) return;
    draw(place).finally(() => drawWhenIdle());
  };
  "requestIdleCallback" in window ? requestIdleCallback(next, { timeout: 4000 }) : setTimeout(next, 200);
}

function startCharts() {
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      isIntersecting ? visible.add(target) : visible.delete(target);
      if (isIntersecting) stale.has(target) ? refresh(target) : draw(target);
    }
  }, { rootMargin: "120px" });
  for (const place of document.querySelectorAll("[data-chart]")) {
    waiting.add(place);
    watcher.observe(place);
    keys(place);
  }
  listeners.push((what) => (what === "theme" ? redrawCharts() : refreshCharts()));
  let width = innerWidth, timer;
  addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(() => { if (innerWidth !== width) { width = innerWidth; redrawCharts("depths"); } }, 150);
  });
  addEventListener("load", () => setTimeout(drawWhenIdle, 400));
}

// The arrow keys go through arms (up, down) and lengths (left, right) of a chart that has the focus.
function keys(place) {
  place.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], side = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const view = DATA.views[DATA.charts[place.dataset.chart].view];
    if (step) {
      const arms = Object.keys(view.labels).map(Number).filter((index) => !state.hidden.has(index));
      const now = arms.findIndex((index) => state.arms.has(index));
      state.arms = new Set([arms[(now + step + arms.length + (now < 0 && step < 0 ? 1 : 0)) % arms.length]]);
      changed("arms");
    } else if (side && view.length) {
      const now = view.places.indexOf(state.length), places = view.places.length;
      chooseLength(view.places[(now + side + places + (now < 0 && side < 0 ? 1 : 0)) % places]);
    } else if (event.key === "Escape") {
      state.arms.clear();
      state.length = 0;
      changed("arms");
    } else return;
    event.preventDefault();
  });
}
