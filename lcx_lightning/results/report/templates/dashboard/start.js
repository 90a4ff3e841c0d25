// Start: read the choice from the address, fill what scripts fill, and listen.
readFragment();

function applyTheme() {
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
  $("theme").textContent = isDark() ? "Light" : "Dark";
  paintSwatches();
}

makeList();
makeLegends();
makeLengths();
makeControls();
for (const row of document.querySelectorAll("tr[data-arm]")) {
  const arm = Number(row.dataset.arm);
  tableRows.has(arm) ? tableRows.get(arm).push(row) : tableRows.set(arm, [row]);
  row.cells[0].addEventListener("click", () => toggleArm(arm));
}

function show() {
  showArms();
  showRows();
  showLength();
}

listeners.push((what) => (what === "theme" ? applyTheme() : show()));
$("search").addEventListener("input", () => { state.find = $("search").value; changed("find"); });
$("only").addEventListener("click", () => {
  const is = found();
  state.hidden = new Set(DATA.arms.map((_, index) => index).filter((index) => !is[index]));
  changed("hidden");
});
$("all").addEventListener("click", () => { state.hidden.clear(); changed("hidden"); });
$("clear").addEventListener("click", () => { state.arms.clear(); state.length = 0; changed("arms"); });
$("theme").addEventListener("click", () => { state.theme = isDark() ? "light" : "dark"; changed("theme"); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (!state.theme) changed("theme"); });
$("arm").addEventListener("change", aboutArm);
$("against").addEventListener("change", aboutArm);
$("arm").value = String(DATA.arms.length > 1 ? 1 : 0);
$("against").value = "0";
if ($("verdict")) {
  $("verdict").addEventListener("change", filterClaims);
  $("claim").addEventListener("input", filterClaims);
  filterClaims();
}
for (const link of document.querySelectorAll("[data-jump]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault(); // the address keeps the choice
    const target = $(link.dataset.jump);
    target.scrollIntoView();
    target.focus({ preventScroll: true });
  });
}
for (const [key, value] of Object.entries(DATA.settings.shared)) pairs($("shared"), [element("code", {}, key), value]);
addEventListener("hashchange", () => { readFragment(); applyTheme(); changed("arms"); });
addEventListener("beforeprint", () => {
  for (const box of document.querySelectorAll("main details.table")) box.open = true;
  for (const place of stale) refresh(place);
  for (const place of waiting) draw(place);
});
if (matchMedia("(max-width: 56rem)").matches) $("panel").open = false;
applyTheme();
show();
aboutArm();
startCharts();
if (DATA.refresh) {
  setInterval(() => { if (!document.hidden && document.activeElement.tagName !== "INPUT") location.reload(); }, 1000 * DATA.refresh);
}
