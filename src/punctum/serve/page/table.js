// The points as a table: everything that the picture shows, for those who do not see it.

import { axesOf, factorOf, pointColour, visible } from "./drawing.js";

export function fillTable(table, keypoints, options, choose) {
  const columns = columnsOf(keypoints, options);
  const heading = document.createElement("tr");
  heading.append(...["Point", ...columns.map((column) => column.name)].map((name, i) => {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    if (columns[i - 1]?.text) cell.className = "text";
    return cell;
  }));
  table.tHead.replaceChildren(heading);
  table.tBodies[0].replaceChildren(...keypoints.map((point, k) => rowOf(point, k, columns, options, choose)));
}

// Which point is chosen, and which are below the least score, without building the table anew: focus stays.
export function markRows(table, keypoints, options) {
  [...table.tBodies[0].rows].forEach((row, k) => {
    row.classList.toggle("below", !visible(keypoints[k], options));
    row.querySelector("button").setAttribute("aria-pressed", String(k === options.chosen));
  });
}

function columnsOf(keypoints, options) {
  const [first] = keypoints;
  const columns = [
    { name: "x", value: (point) => number(point.x, 2) },
    { name: "y", value: (point) => number(point.y, 2) },
    { name: "Score", value: (point) => number(point.score, 3) },
  ];
  if (first?.regions) {
    const percent = `${+(100 * options.level).toPrecision(4)} %`;
    columns.push({ name: `Radius for ${percent}, px`, value: (point) => number(point.regions[options.level]?.radius, 2) });
  }
  if (first?.covariance) columns.push({ name: "Ellipse, px", value: (point) => ellipse(point, options.level) });
  if (first && "present" in first) columns.push({ name: "In the picture", value: (point) => number(point.present, 3) });
  if (first?.flags) columns.push({ name: "Flags", text: true, value: (point) => point.flags.join(", ") || "none" });
  return columns;
}

function ellipse(point, level) {
  if (!point.covariance || point.covariance.flat().includes(null)) return "–";
  const { long, short } = axesOf(point.covariance);
  const factor = factorOf(point, level);
  return `±${(factor * long).toFixed(1)} × ±${(factor * short).toFixed(1)}`;
}

function rowOf(point, k, columns, options, choose) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-pressed", String(k === options.chosen));
  const dot = document.createElement("span");
  dot.className = "dot";
  dot.style.background = pointColour(k);
  button.append(dot, point.name);
  button.addEventListener("click", () => choose(k));
  head.append(button);
  const cells = columns.map((column) => {
    const cell = document.createElement("td");
    cell.textContent = column.value(point);
    if (column.text) cell.className = "text";
    return cell;
  });
  row.classList.toggle("below", !visible(point, options));
  row.append(head, ...cells);
  return row;
}

function number(value, digits) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}
