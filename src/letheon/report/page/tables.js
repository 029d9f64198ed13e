"use strict";
// The page is whole without this: it adds sorting to tables, and picking runs where there are many.

const number = (text) => {
  const found = text.replace(/,/g, "").match(/^[<>\s]*(-?\d[\d.]*(?:e[+-]?\d+)?)/i);
  return found ? Number(found[1]) : null;
};

// Numbers by size, texts by letters, what is missing last in either direction.
const missing = (text) => text === "" || text === "–";
const ordered = (a, b, sign) => {
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const [x, y] = [number(a), number(b)];
  if (x !== null && y !== null) return sign * (x - y);
  if (x !== null || y !== null) return x === null ? 1 : -1;
  return sign * a.localeCompare(b);
};

const sortable = (table) => {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const text = (row) => row.cells[column].textContent.trim();
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => ordered(text(a), text(b), up ? 1 : -1));
      table.tBodies[0].append(...rows);
    });
  });
};

const labelled = (input, words) => {
  const label = document.createElement("label");
  label.append(input, " ", words);
  return label;
};

const checkbox = (name) => {
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = true;
  box.value = name;
  return box;
};

// All that belongs to a run, in tables, figures and curves, goes with its checkbox and the filter.
const pickable = (place) => {
  const parts = [...document.querySelectorAll("[data-run]")];
  const names = [...new Set(parts.map((part) => part.dataset.run))];
  const boxes = names.map(checkbox);
  const search = document.createElement("input");
  search.type = "search";
  const filter = document.createElement("label");
  filter.append("Filter by words in a row: ", search);
  const all = document.createElement("button");
  all.type = "button";
  all.textContent = "Show all";
  const picks = document.createElement("fieldset");
  const legend = document.createElement("legend");
  legend.textContent = "Runs shown";
  picks.append(legend, ...boxes.map((box) => labelled(box, box.value)));
  const status = document.createElement("p");
  status.setAttribute("role", "status");

  const show = () => {
    const picked = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    const wanted = search.value.trim().toLowerCase();
    parts.forEach((part) => {
      const fits = !part.matches("tr") || part.textContent.toLowerCase().includes(wanted);
      part.toggleAttribute("hidden", !(picked.has(part.dataset.run) && fits));
    });
    const rows = [...place.parentElement.querySelectorAll("tr[data-run]")];
    const left = rows.filter((row) => !row.hidden).length;
    status.textContent = `${left} of ${rows.length} rows shown.`;
  };
  [...boxes, search].forEach((input) => input.addEventListener("input", show));
  all.addEventListener("click", () => {
    boxes.forEach((box) => { box.checked = true; });
    search.value = "";
    show();
  });
  place.append(filter, " ", all, picks, status);
  place.hidden = false;
  show();
};

document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll(".tools").forEach(pickable);
