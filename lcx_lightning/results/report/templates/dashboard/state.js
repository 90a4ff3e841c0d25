// What a reader has chosen, kept in the address of the page: #arms=ID,ID&length=512&hide=ID&find=TEXT&theme=dark
const DATA = JSON.parse(document.getElementById("data").textContent);
const state = { arms: new Set(), hidden: new Set(), length: 0, find: "", theme: "" };
const listeners = [];
const $ = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function readFragment() {
  const given = new URLSearchParams(location.hash.slice(1));
  const numbers = (name) => new Set((given.get(name) || "").split(",")
    .map((id) => DATA.arms.findIndex((arm) => arm.id === id)).filter((index) => index >= 0));
  state.arms = numbers("arms");
  state.hidden = numbers("hide");
  state.length = Number(given.get("length")) || 0;
  state.find = given.get("find") || "";
  state.theme = ["dark", "light"].includes(given.get("theme")) ? given.get("theme") : "";
}

function writeFragment() {
  const said = new URLSearchParams();
  const ids = (some) => [...some].map((index) => DATA.arms[index].id).join(",");
  if (state.arms.size) said.set("arms", ids(state.arms));
  if (state.length) said.set("length", state.length);
  if (state.hidden.size) said.set("hide", ids(state.hidden));
  if (state.find) said.set("find", state.find);
  if (state.theme) said.set("theme", state.theme);
  const text = said.toString().replaceAll("%2C", ",");
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

// Every part of the page that shows the choice is told at once what has changed of it.
function changed(what) {
  writeFragment();
  for (const listener of listeners) listener(what);
}

function toggleArm(index) {
  state.arms.has(index) ? state.arms.delete(index) : state.arms.add(index);
  changed("arms");
}

function chooseLength(length) {
  state.length = state.length === length ? 0 : length;
  changed("length");
}

function isDark() {
  return state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
