"use strict";
// Tells about the cell under the pointer, or under the finger: state, attempts, payloads, run and command.
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

function cellAt(event) {
  const grid = event.target.closest("pre[data-kind]");
  if (!grid) return null;
  const lines = grid.textContent.split("\n");
  const box = grid.getBoundingClientRect();
  const width = +grid.dataset.label + +grid.dataset.columns;
  const character = grid.dataset.kind === "whole" ? grid.querySelector("b,i,u") : grid;
  const step = grid.dataset.kind === "whole"
    ? character.getBoundingClientRect().width / character.textContent.length : box.width / width;
  const row = Math.floor((event.clientY - box.top) / (box.height / lines.length));
  const column = Math.floor((event.clientX - box.left) / step) - grid.dataset.label;
  const letter = (lines[row] || "")[column + +grid.dataset.label];
  if (column < 0 || column >= +grid.dataset.columns || !looks.has(letter)) return null;
  const source = grid.closest("section").dataset.source;
  return {
    source, letter, key: keyAt(grid, lines[row], row, column), isPartition: grid.dataset.kind !== "days",
    ...(grid.dataset.facts ? factsAt(grid, placeOf(grid, row, column)) : {}),
  };
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
  if (date) return `gapless run ${cell.source} ${cell.key} ${cell.key} --reason gap_repair`;
  return `gapless repair ${cell.source} --reason gap_repair`;
}

function show(cell, withLinks) {
  const mark = document.createElement("b");
  mark.className = cell.letter;
  mark.textContent = ` ${cell.letter} `;
  const attempts = cell.attempts ? `, ${cell.attempts} attempt${cell.attempts === 1 ? "" : "s"}` : "";
  const text = ` ${cell.source} ${cell.key}: ${looks.get(cell.letter)}${attempts}${cell.note ? `. ${cell.note}` : ""} `;
  panel.replaceChildren(mark, text);
  if (withLinks) {
    const at = `${known.links.objects}/landing/source%3D${cell.source}/partition%3D${encodeURIComponent(cell.key)}`;
    if (!cell.isPartition) panel.append("(one of its days) ");
    else if (known.links.details) panel.append(link("Attempts, payloads, run", `${known.links.details}${cell.source}/${encodeURIComponent(cell.key)}`), " ");
    else if (known.links.objects) panel.append(link("Payloads", at), " ");
    if (cell.run && known.links.objects) panel.append(link(`Run ${cell.run}`, `${known.links.objects}/runs/backfill%3D${cell.run}`), " ");
    const command = document.createElement("code");
    command.textContent = commandOf(cell);
    panel.append(command);
  } else if (cell.run) panel.append(`Run ${cell.run}. `, "Click for links and the command.");
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
document.addEventListener("keydown", event => { if (event.key === "Escape") { held = ""; panel.hidden = true; } });
