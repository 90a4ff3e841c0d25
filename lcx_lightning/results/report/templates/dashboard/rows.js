// Rows of a chart from the columns of the page: each number stands in the page once.
const made = new Map();

function rowsOf(viewName, kind) {
  const key = `${viewName} ${kind}`;
  if (!made.has(key)) made.set(key, makeRows(DATA.views[viewName], kind));
  return made.get(key);
}

function styled(row, index) {
  const [colour, shape, dash] = DATA.arms[index].style;
  return Object.assign(row, { arm: index, colour, shape, dash });
}

function makeRows(view, kind) {
  const { columns, ns } = view[kind];
  const rows = columns.arm.map((arm, i) => styled({
    label: view.labels[arm], place: columns.place[i], value: columns.value[i],
    low: columns.low[i] ?? columns.value[i], high: columns.high[i] ?? columns.value[i],
    text: columns.text[i], interval: columns.interval[i] || "unknown", n: ns[columns.n[i]],
    at: placeText(view, columns.place[i]), trained: (view.trained[arm] || []).includes(columns.place[i]),
  }, arm));
  return rows.filter((row) => row.value !== null);
}

function placeText(view, place) {
  return view.L ? `${place} (${+(place / view.L).toPrecision(3)}L)` : String(place);
}

const kept = new Map(); // rows -> which arms were hidden, and the others' rows: the same array for the same arms
function shown(rows) {
  const hidden = [...state.hidden].join();
  if (!kept.has(rows) || kept.get(rows)[0] !== hidden) {
    kept.set(rows, [hidden, hidden ? rows.filter((row) => !state.hidden.has(row.arm)) : rows]);
  }
  return kept.get(rows)[1];
}

function chosen(rows) {
  return rows.filter((row) => state.arms.has(row.arm));
}

// Rows of arms with one number each, of which no line shows anything.
function alone(rows) {
  const counts = new Map();
  for (const row of rows) counts.set(row.arm, (counts.get(row.arm) || 0) + 1);
  return rows.filter((row) => counts.get(row.arm) === 1);
}

function countArms(rows) {
  return new Set(rows.map((row) => row.arm)).size;
}

// The length at which a chart of one number an arm stands: the one that is chosen, or else the longest.
function placeOf(view) {
  return view.length && view.places.includes(state.length) ? state.length : view.places[view.places.length - 1];
}

function atPlace(chart) {
  const view = DATA.views[chart.view], place = placeOf(view);
  return shown(rowsOf(chart.view, "values")).filter((row) => row.place === place);
}

// Round numbers inside an interval, at most nine: 1, 2, 5 of a decade, or even steps on a short axis.
function ticksOf(low, high, logarithmic) {
  if (!(high > low)) return [low];
  const inside = (values) => values.map((x) => +x.toPrecision(6)).filter((x) => x >= low && x <= high);
  const series = [];
  if (!logarithmic || high / low < 3) {
    const top = Math.floor(Math.log10(high - low));
    for (let exponent = top - 1; exponent <= top + 1; exponent += 1) {
      for (const digit of [1, 2, 5]) {
        const step = digit * 10 ** exponent, ticks = [];
        for (let i = Math.ceil(low / step); i * step <= high && ticks.length < 60; i += 1) ticks.push(i * step);
        series.push(inside(ticks));
      }
    }
  } else {
    const decades = [];
    for (let d = Math.floor(Math.log10(low)); d <= Math.ceil(Math.log10(high)); d += 1) decades.push(10 ** d);
    for (const digits of [[1, 1.5, 2, 3, 4, 5, 6, 8], [1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1]]) {
      series.push(inside(decades.flatMap((decade) => digits.map((digit) => digit * decade))));
    }
  }
  return series.find((ticks) => ticks.length <= 9) || series[series.length - 1];
}

function span(rows, keys) {
  let low = Infinity, high = -Infinity;
  for (const row of rows) {
    for (const key of keys) {
      if (row[key] < low) low = row[key];
      if (row[key] > high) high = row[key];
    }
  }
  return [low, high];
}

const FILL = {
  lines(chart) {
    const view = DATA.views[chart.view], rows = shown(rowsOf(chart.view, chart.values)), focus = chosen(rows);
    const arms = countArms(rows), [least, most] = span(rows, ["value"]);
    const few = focus.length ? focus : arms <= 12 ? rows : [];
    const cut = view.logarithmic; // wide intervals are cut at 1.3 times the extreme values
    const bands = few.filter((row) => row.low < row.high).map((row) => cut
      ? { ...row, low: Math.max(row.low, least / 1.3), high: Math.min(row.high, most * 1.3) } : row);
    const last = new Map(focus.map((row) => [row.arm, row]));
    const marks = view.L ? [{ place: view.L, text: `L = ${view.L}`, chosen: false }] : [];
    if (view.length && view.places.includes(state.length)) marks.push({ place: state.length, chosen: true });
    const [low, high] = span([...rows, ...bands], bands.length ? ["value", "low", "high"] : ["value"]);
    return {
      data: { rows, hover: arms <= 60 ? rows : focus, bands, focus, marks, points: arms <= 24 ? rows : alone(rows), ends: last.size <= 6 ? [...last.values()] : [],
        rings: (focus.length ? focus : arms <= 24 ? rows : []).filter((row) => row.trained) },
      signals: { faint: arms > 24 ? 0.35 : focus.length ? 0.22 : 1, ticks: ticksOf(low, high, view.logarithmic) },
    };
  },
  depths(chart) {
    const view = DATA.views[chart.view], { arm, length, depth, value, text, n } = view.depths;
    const wanted = [...new Set(arm)].filter((index) => !state.hidden.has(index));
    const some = wanted.filter((index) => state.arms.has(index));
    const kept = new Set((some.length ? some : wanted).slice(0, 12));
    const rows = arm.map((index, i) => ({ arm: index, order: index, label: view.labels[index], length: length[i],
      depth: depth[i], value: value[i], text: text[i], n: n[i] })).filter((row) => kept.has(row.arm));
    return { data: { rows }, signals: { chosen: state.length } };
  },
  matrix(chart) {
    const view = DATA.views[chart.view], found = new Map(atPlace(chart).map((row) => [row.arm, row]));
    const cells = chart.cells.filter(([arm]) => found.has(arm));
    const [low, high] = span(cells.map(([arm]) => found.get(arm)), ["value"]);
    const scale = view.logarithmic ? Math.log : (x) => x;
    const rows = cells.map(([arm, across, down]) => {
      const row = found.get(arm), share = (scale(row.value) - scale(low)) / (scale(high) - scale(low) || 1);
      return { ...row, across, down, column: chart.order.across.indexOf(across), row: chart.order.down.indexOf(down),
        chosen: state.arms.has(arm), short: row.text.split(" ")[0], dark: view.logarithmic ? share > 0.5 : share < 0.5 };
    });
    return { data: { rows }, signals: {} };
  },
  cost(chart) {
    const kind = chart.kind_shown || chart.kinds[0], sign = DATA.views[chart.view].better === "higher" ? -1 : 1;
    const rows = atPlace(chart).filter((row) => DATA.arms[row.arm].cost[kind] > 0)
      .map((row) => ({ ...row, cost: DATA.arms[row.arm].cost[kind], spent: DATA.arms[row.arm].cost[kind].toPrecision(3) }));
    const frontier = [];
    for (const row of [...rows].sort((a, b) => a.cost - b.cost || sign * (a.value - b.value))) {
      if (!frontier.length || sign * (row.value - frontier[frontier.length - 1].value) < 0) frontier.push(row);
    }
    const focus = chosen(rows), [low, high] = span(rows, ["value"]);
    const logarithmic = DATA.views[chart.view].logarithmic;
    return { data: { rows, frontier, focus }, signals: { faint: focus.length ? 0.3 : 1, ticks: ticksOf(low, high, logarithmic) } };
  },
  parallel(chart) {
    const view = DATA.views[chart.view], found = atPlace(chart), axes = Object.entries(chart.axes), rows = [], labels = [];
    const scale = view.logarithmic ? Math.log : (x) => x, [low, high] = span(found, ["value"]);
    const height = (value) => (scale(value) - scale(low)) / (scale(high) - scale(low) || 1);
    for (const row of found) {
      for (const [axis, order] of axes) {
        const known = DATA.knobs[axis][row.arm], text = known === null ? "None" : known === true ? "True" : known === false ? "False" : String(known);
        rows.push({ ...row, axis, text, height: order.length > 1 ? Math.max(0, order.indexOf(text)) / (order.length - 1) : 0.5 });
      }
      rows.push({ ...row, axis: view.title, height: height(row.value) });
    }
    for (const [axis, order] of axes) {
      const every = Math.ceil(order.length / 10);
      order.forEach((text, i) => i % every || labels.push({ axis, text: text === "None" ? "\u2013" : text, height: order.length > 1 ? i / (order.length - 1) : 0.5 }));
    }
    if (found.length) for (const value of ticksOf(low, high, view.logarithmic)) labels.push({ axis: view.title, text: String(value), height: height(value) });
    const focus = chosen(rows);
    return { data: { rows, focus, labels }, signals: { faint: focus.length ? 0.12 : found.length > 36 ? 0.3 : 0.75 } };
  },
};
