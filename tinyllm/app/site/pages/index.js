"use strict";
const { runs, losses } = JSON.parse(document.getElementById("data").textContent);
const table = document.getElementById("runs");
const boxes = [...table.querySelectorAll("input")];
const TITLES = { val_bits: "validation", train_bits: "training" };
const COLORS = 8;
const WIDTH = 640, HEIGHT = 330, LEFT = 48, RIGHT = 24, TOP = 12, BOTTOM = 46;
let loss = losses[0];

function element(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Round values between two, about five of them. */
function ticks(low, high) {
  const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const found = [];
  for (let value = Math.ceil(low / step); value * step <= high; value++) found.push(value * step);
  return found;
}

/** From a value to its place between two places, and values to label. */
function scale(values, start, end) {
  let low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  if (low === high) { low -= 0.5; high += 0.5; }
  return [(value) => start + (value - low) / (high - low) * (end - start), ticks(low, high)];
}

function draw(chosen) {
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": `Loss in ${TITLES[loss]} of the ticked runs` });
  const points = chosen.flatMap((run) => run.curves[loss] ?? []);
  if (!points.length) return svg;
  const [x, across] = scale(points.map((point) => point[0]), LEFT, WIDTH - RIGHT);
  const [y, down] = scale(points.map((point) => point[1]), HEIGHT - BOTTOM, TOP);
  for (const value of down) {
    svg.append(element("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }));
    svg.append(element("text", { x: LEFT - 6, y: y(value), dy: ".32em", "text-anchor": "end" }, Number(value.toPrecision(6))));
  }
  for (const value of across) svg.append(element("text", { x: x(value), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, Number(value.toPrecision(6))));
  svg.append(element("text", { x: WIDTH - RIGHT, y: HEIGHT - 4, "text-anchor": "end" }, "step"));
  chosen.forEach((run, index) => {
    const places = (run.curves[loss] ?? []).map((point) => `${x(point[0]).toFixed(1)},${y(point[1]).toFixed(1)}`);
    const line = element("polyline", { class: `line c${index % COLORS}`, points: places.join(" ") });
    line.append(element("title", {}, run.name));
    svg.append(line);
  });
  return svg;
}

function compare() {
  const chosen = boxes.filter((box) => box.checked).map((box) => runs[box.value]);
  document.getElementById("comparison").hidden = !chosen.length;
  document.getElementById("chart").replaceChildren(draw(chosen));
  document.getElementById("legend").replaceChildren(...chosen.map((run, index) => {
    const item = document.createElement("li");
    item.className = `c${index % COLORS}`;
    item.textContent = run.name;
    return item;
  }));
}

function offer(name) {
  const label = document.createElement("label"), button = document.createElement("input");
  Object.assign(button, { type: "radio", name: "loss", checked: name === loss });
  button.addEventListener("change", () => { loss = name; compare(); });
  label.append(button, ` ${TITLES[name]}`);
  return label;
}

/** Numbers by size, other texts by letter, and what is missing last. */
function order(one, other) {
  if (!one || !other) return one ? -1 : other ? 1 : 0;
  const difference = Number(one) - Number(other);
  return Number.isNaN(difference) ? one.localeCompare(other) : difference;
}

function sort(head) {
  const column = [...head.parentElement.children].indexOf(head);
  const falling = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const value = (row) => row.children[column].dataset.value;
  const rows = [...table.tBodies[0].rows].sort((a, b) => {
    const missing = !value(a) || !value(b);
    return falling && !missing ? order(value(b), value(a)) : order(value(a), value(b));
  });
  table.tBodies[0].append(...rows);
}

for (const head of table.querySelectorAll("[data-sort]")) {
  const button = document.createElement("button");
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => sort(head));
}
document.getElementById("choice").append(...losses.map(offer));
for (const box of boxes) box.addEventListener("change", compare);
boxes.slice(0, 3).forEach((box) => { box.checked = true; });
compare();
