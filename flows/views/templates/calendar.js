"use strict";
// Tells about the cell under the pointer, the finger or the keys: state, attempts, payloads, run and command.
const known = JSON.parse(document.getElementById("facts").textContent);
const panel = document.getElementById("panel");
const looks = new Map([...document.querySelectorAll("[data-letter]")].map(at => [at.dataset.letter, at.dataset.label]));
const two = number => String(number).padStart(2, "0");
let held = "";

function factsAt(grid, place) {
  let end = 0;
  for (const told of grid.dataset.facts.split(" ")) {
    const [length, attempts, run, note] = told.split(":");
    end += parseInt(length, 36);
    if (place < end) {
      return {
        attempts: parseInt(attempts || "0", 36),
        run: run ? known.runs[parseInt(run, 36)] : "",
        note: note ? known.notes[parseInt(note, 36)] : "",
      };
    }
  }
  return null;
}

function keyAt(grid, line, row, column) {
  if (grid.dataset.kind === "day") return `${grid.dataset.year}-${two(row + 1)}-${two(column + 1)}`;
  if (grid.dataset.kind !== "whole") {
    const month = `${line.slice(0, 4)}-${two(column + 1)}`;
    return grid.dataset.entity ? `${grid.dataset.entity}@${month}` : month;
  }
  const variants = (grid.dataset.variants || "").split(",");
  return line.slice(+grid.dataset.columns).trim() + (variants[column] || "");
}

function placeOf(grid, row, column) {
  if (grid.dataset.kind !== "day") return row * grid.dataset.columns + column;
  const year = +grid.dataset.year;
  return (Date.UTC(year, row, column + 1) - Date.UTC(year, 0, 1)) / 864e5;
}

function shapeOf(grid) {
  const lines = grid.textContent.split("\n"), box = grid.getBoundingClientRect();
  const label = +grid.dataset.label, columns = +grid.dataset.columns;
  const letters = grid.querySelector("b,i,u");
  const step = grid.dataset.kind === "whole"
    ? letters.getBoundingClientRect().width / letters.textContent.length : box.width / (label + columns);
  return { lines, box, label, columns, step, height: box.height / lines.length };
}

function cellOf(grid, shape, row, column) {
  const line = shape.lines[row] || "", letter = line[column + shape.label];
  if (column < 0 || column >= shape.columns || !looks.has(letter)) return null;
  return {
    source: grid.closest("section").dataset.source, letter,
    key: keyAt(grid, line, row, column), isPartition: grid.dataset.kind !== "days",
    ...(grid.dataset.facts ? factsAt(grid, placeOf(grid, row, column)) : {}),
  };
}

function cellAt(event) {
  const grid = event.target.closest("pre[data-kind]");
  if (!grid) return null;
  const shape = shapeOf(grid);
  const row = Math.floor((event.clientY - shape.box.top) / shape.height);
  return cellOf(grid, shape, row, Math.floor((event.clientX - shape.box.left) / shape.step) - shape.label);
}

function link(text, target) {
  const made = document.createElement("a");
  made.textContent = text;
  made.href = target;
  return made;
}

function commandOf(cell) {
  const date = /^\d{4}-\d{2}-\d{2}$/.test(cell.key);
  if (cell.letter === cell.letter.toLowerCase()) return date ? `gapless verify ${cell.source} ${cell.key} ${cell.key}` : "";
  if (cell.letter === "A") return `gapless reviews --source ${cell.source}`;
  // A run takes a proven empty date for done.
  const verb = cell.letter === "D" ? "repair" : "run";
  if (date) return `gapless ${verb} ${cell.source} ${cell.key} ${cell.key} --reason gap_repair`;
  return `gapless repair ${cell.source} --reason gap_repair`;
}

function show(cell, withLinks) {
  const mark = document.createElement("b");
  mark.className = cell.letter;
  mark.textContent = ` ${cell.letter} `;
  const attempts = cell.attempts ? `, ${cell.attempts} attempt${cell.attempts === 1 ? "" : "s"}` : "";
  const text = ` ${cell.source} ${cell.key}: ${looks.get(cell.letter)}${attempts}${cell.note ? `. ${cell.note}` : ""}. `;
  panel.replaceChildren(mark, text);
  if (withLinks) {
    const at = `${known.links.objects}/landing/source%3D${cell.source}/partition%3D${encodeURIComponent(cell.key)}`;
    if (!cell.isPartition) panel.append("(one of its days) ");
    else if (known.links.details) panel.append(link("Attempts, payloads, run", `${known.links.details}${cell.source}/${encodeURIComponent(cell.key)}`), " ");
    else if (known.links.objects) panel.append(link("Payloads", at), " ");
    if (cell.run && known.links.objects) panel.append(link(`Run ${cell.run}`, `${known.links.objects}/runs/backfill%3D${cell.run}`), " ");
    const command = document.createElement("code");
    command.textContent = commandOf(cell);
    command.tabIndex = 0;
    panel.append(command);
  } else if (cell.run) panel.append(`Run ${cell.run}. `, "Click or Enter: links and command.");
  panel.hidden = false;
}

document.addEventListener("pointermove", event => {
  if (held || event.pointerType === "touch") return;
  const cell = cellAt(event);
  if (cell) show(cell, false); else panel.hidden = true;
});
document.addEventListener("click", event => {
  if (panel.contains(event.target)) return;
  const cell = cellAt(event);
  const name = cell ? `${cell.source} ${cell.key}` : "";
  held = name === held ? "" : name;
  if (cell && held) show(cell, true); else panel.hidden = true;
});

// The same by keys: Tab to a grid, arrows to a cell, Enter to its links, Escape back.
const cursor = document.getElementById("cursor");
const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
let left = null;

function put(grid, [row, column]) {
  const shape = shapeOf(grid), cell = cellOf(grid, shape, row, column);
  grid.at = [row, column];
  cursor.style.left = `${scrollX + shape.box.left + (shape.label + column) * shape.step}px`;
  cursor.style.top = `${scrollY + shape.box.top + row * shape.height}px`;
  cursor.style.width = `${shape.step}px`;
  cursor.style.height = `${shape.height}px`;
  cursor.hidden = false;
  cursor.scrollIntoView({ block: "nearest" });
  held = "";
  show(cell, false);
}

function first(grid) {
  const { lines, label, columns } = shapeOf(grid), found = [];
  lines.forEach((line, row) => [...line.slice(label, label + columns)].forEach((letter, column) => {
    if (looks.has(letter)) found.push([letter, [row, column]]);
  }));
  const [, place] = found.find(([letter]) => letter !== letter.toLowerCase()) || found[0];
  return place;
}

function step(grid, [down, right]) {
  const shape = shapeOf(grid);
  let [row, column] = grid.at;
  do { row += down; column += right; } while (
    row >= 0 && row < shape.lines.length && column >= 0 && column < shape.columns && !cellOf(grid, shape, row, column));
  if (cellOf(grid, shape, row, column)) put(grid, [row, column]);
}

for (const grid of document.querySelectorAll("pre[data-kind]")) {
  grid.tabIndex = 0;
  grid.setAttribute("role", "application");
  grid.setAttribute("aria-roledescription", "calendar");
  grid.addEventListener("focus", () => { if (grid.matches(":focus-visible")) put(grid, grid.at || first(grid)); });
  grid.addEventListener("blur", () => { cursor.hidden = true; });
  grid.addEventListener("keydown", event => {
    const at = grid.at && moves[event.key];
    if (at) step(grid, at);
    else if (event.key === "Enter" && grid.at) {
      left = grid;
      show(cellOf(grid, shapeOf(grid), ...grid.at), true);
      panel.querySelector("a, code").focus();
    } else return;
    event.preventDefault();
  });
}
document.addEventListener("keydown", event => {
  if (event.key !== "Escape") return;
  held = "";
  panel.hidden = true;
  if (left && panel.contains(document.activeElement)) left.focus();
  left = null;
});
