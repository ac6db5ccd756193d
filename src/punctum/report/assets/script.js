"use strict";
// Without this script the page shows the same; with it tables sort and filter, and folded parts open in print.

const words = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

// Numbers before words; what is missing comes last, whichever way the column is sorted.
function compare(a, b, direction) {
  const missing = a.hasAttribute("data-missing") - b.hasAttribute("data-missing");
  if (missing) return missing;
  const [x, y] = [a, b].map((cell) => cell.dataset.number);
  if (x !== undefined && y !== undefined) return direction * (Number(x) - Number(y) || 0);
  if (x !== undefined || y !== undefined) return direction * (x === undefined ? 1 : -1);
  return direction * words.compare(a.textContent, b.textContent);
}

function sort(table, heading) {
  const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((a, b) => compare(a.cells[heading.cellIndex], b.cells[heading.cellIndex], direction));
  body.append(...rows);
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
}

function makeSortable(table) {
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.title = "Sort";
    button.addEventListener("click", () => sort(table, heading));
    heading.replaceChildren(button);
  }
}

function makeFilter(box) {
  const rows = [...box.querySelector("tbody").rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const [tools, label, input, count] = ["div", "label", "input", "output"].map((tag) => document.createElement(tag));
  tools.className = "tools";
  input.type = "search";
  input.autocomplete = "off";
  label.append("Filter", input);
  const update = () => {
    const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row, i) => { row.hidden = !wanted.every((word) => texts[i].includes(word)); });
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = wanted.length ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
  };
  input.addEventListener("input", update);
  tools.append(label, count);
  box.prepend(tools);
  update();
}

// What was folded in is open on paper, and folded in again afterwards.
let opened = [];
function unfold() {
  if (opened.length) return;
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const part of opened) part.open = true;
}
function fold() {
  for (const part of opened) part.open = false;
  opened = [];
}
// A link into a folded part opens it.
function reveal() {
  const part = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folded = part && part.querySelector(":scope > details");
  if (folded) folded.open = true;
}

document.querySelectorAll(".table table").forEach(makeSortable);
document.querySelectorAll(".table.filtered").forEach(makeFilter);
addEventListener("beforeprint", unfold);
addEventListener("afterprint", fold);
matchMedia("print").addEventListener("change", (event) => (event.matches ? unfold() : fold()));
addEventListener("hashchange", reveal);
reveal();
