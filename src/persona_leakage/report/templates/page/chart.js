"use strict";
// Every figure of points and every table of personas is drawn from one block of data, when the part
// of the page that it stands in is first opened. Text goes into the page as text, never as markup.
const study = JSON.parse(document.getElementById("points").textContent);
const tell = document.getElementById("tell");
const finite = value => value !== null && Number.isFinite(value);
const signed = value => finite(value) ? (value < 0 ? "−" : "+") + Math.abs(value).toFixed(1) : "–";

function svg(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function html(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function marks(low, high, about) {  // round numbers, about so many
  const rough = (high - low) / about, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(times => times * power).find(each => each >= rough);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push([k * step, (k * step).toFixed(digits)]);
  return found;
}

function shape(kind, x, y, size) {
  const star = [...Array(10)].map((_, k) => {
    const radius = k % 2 ? size * 0.42 : size, angle = Math.PI * (k / 5 - 0.5);
    return `${x + radius * Math.cos(angle)},${y + radius * Math.sin(angle)}`;
  });
  const corners = {
    square: [[-1, -1], [1, -1], [1, 1], [-1, 1]], diamond: [[0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]],
    up: [[0, -1.2], [1.1, 0.9], [-1.1, 0.9]], down: [[0, 1.2], [1.1, -0.9], [-1.1, -0.9]],
  }[kind];
  if (kind === "star") return svg("polygon", { points: star.join(" ") });
  if (corners) return svg("polygon", { points: corners.map(([a, b]) => `${x + a * size * 0.85},${y + b * size * 0.85}`).join(" ") });
  return svg("circle", { cx: x, cy: y, r: size * 0.85 });
}

// a figure may show one of several cells: a choice among them stands below it
const chosen = figure => figure.querySelector("input.cell:checked")?.value ?? figure.dataset.cell.split("|")[0];

function draw(figure) {
  const cell = study.cells[chosen(figure)], by = study.looks[figure.dataset.by];
  const axis = figure.querySelector("input.axis:checked")?.value ?? figure.dataset.axis;
  const width = Math.max(340, Math.min(760, figure.clientWidth || 760));  // so that words keep their size on a telephone
  const [height, left, right, top, bottom] = [width < 500 ? 360 : 440, 58, 14, 12, 46];
  const shown = cell.who.map((_, k) => k).filter(k => finite(cell[axis][k]));
  const xs = shown.map(k => cell[axis][k]), ys = shown.flatMap(k => [cell.delta_low[k], cell.delta_high[k], cell.delta[k]]).filter(finite);
  const pad = (low, high, share) => [low - share * (high - low || 1), high + share * (high - low || 1)];
  const [x0, x1] = pad(Math.min(...xs), Math.max(...xs), 0.04), [y0, y1] = pad(Math.min(0, ...ys), Math.max(0, ...ys), 0.04);
  const across = value => left + (value - x0) / (x1 - x0) * (width - left - right);
  const up = value => height - bottom - (value - y0) / (y1 - y0) * (height - top - bottom);
  const board = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": figure.dataset.label });
  for (const [value, text] of marks(x0, x1, width / 110)) board.append(svg("line", { class: "grid", x1: across(value), x2: across(value), y1: top, y2: height - bottom }), svg("text", { class: "tick", x: across(value), y: height - bottom + 16, "text-anchor": "middle" }, text));
  for (const [value, text] of marks(y0, y1, 6)) board.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: up(value), y2: up(value) }), svg("text", { class: "tick", x: left - 6, y: up(value) + 4, "text-anchor": "end" }, text.replace("-", "−")));
  board.append(svg("line", { class: "zero", x1: left, x2: width - right, y1: up(0), y2: up(0) }));
  if (by.threshold && axis === "centred" && finite(cell.threshold)) board.append(svg("line", { class: "threshold", x1: across(cell.threshold), x2: across(cell.threshold), y1: top, y2: height - bottom }));
  board.append(svg("text", { class: "axis", x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, study.axes[axis]));
  board.append(svg("text", { class: "axis", x: 14, y: (top + height - bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${(top + height - bottom) / 2})` }, study.change));
  const category = figure.querySelector("select")?.value ?? "";
  const order = shown.filter(k => !category || study.people.category[cell.who[k]] === category || cell.role[k] === 0).sort((a, b) => by.rank[cell[by.key][a]] - by.rank[cell[by.key][b]]);
  const points = order.map(k => {
    const look = by.looks[cell[by.key][k]], x = across(cell[axis][k]), y = up(cell.delta[k]);
    if (finite(cell.delta_low[k])) board.append(svg("line", { class: `bar ${look.colour}`, x1: x, x2: x, y1: up(cell.delta_low[k]), y2: up(cell.delta_high[k]) }));
    return { k, x, y, mark: Object.assign(shape(look.mark, x, y, look.mark === "star" ? 9 : 5), { look }) };
  });
  for (const { mark } of points) { mark.setAttribute("class", `point ${mark.look.colour}`); board.append(mark); }
  label(board, cell, points, width - right, top);
  listen(board, cell, points);
  figure.querySelector(":scope > svg")?.remove();
  figure.prepend(board);
}

// those that changed most are named, none over another
function label(board, cell, points, right, top) {
  const taken = [];
  const most = [...points].sort((a, b) => Math.abs(cell.delta[b.k]) - Math.abs(cell.delta[a.k])).slice(0, 40);
  for (const { k, x, y } of most) {
    const text = study.people.name[cell.who[k]].replaceAll("_", " "), length = 5.4 * text.length;
    for (const [dx, dy, anchor] of [[8, 3.5, "start"], [-8, 3.5, "end"], [0, -9, "middle"], [0, 16, "middle"]]) {
      const start = x + dx - { start: 0, end: length, middle: length / 2 }[anchor];
      const box = [start, y + dy - 9, start + length, y + dy + 2];
      const free = box[0] > 60 && box[2] < right && box[1] > top && taken.every(other => box[2] < other[0] || other[2] < box[0] || box[3] < other[1] || other[3] < box[1]) &&
        points.every(other => other.k === k || other.x + 4 < box[0] || other.x - 4 > box[2] || other.y + 4 < box[1] || other.y - 4 > box[3]);
      if (free) { taken.push(box); board.append(svg("text", { class: "name", x: x + dx, y: y + dy, "text-anchor": anchor }, text)); break; }
    }
  }
}

function listen(board, cell, points) {
  let at = null;
  const show = point => {
    at?.mark.classList.remove("here");
    at = point;
    tell.hidden = !point;
    if (!point) return;
    const { k } = point, person = cell.who[k];
    point.mark.classList.add("here");
    tell.replaceChildren(
      html("b", study.people.name[person].replaceAll("_", " ")), html("div", study.people.category[person], "soft"),
      html("div", `${study.outcome}: ${cell.before[k].toFixed(1)} → ${cell.after[k].toFixed(1)} ${study.level}, ${signed(cell.delta[k])} [${signed(cell.delta_low[k])}, ${signed(cell.delta_high[k])}] ${study.unit}`),
      html("div", `cosine ${cell.raw[k]?.toFixed(4) ?? "–"}, centred ${cell.centred[k]?.toFixed(3) ?? "–"}`), html("div", study.people.prompt[person] ?? "no system prompt", "prompt"));
    const frame = board.getBoundingClientRect(), scale = frame.width / board.viewBox.baseVal.width;
    const x = frame.left + point.x * scale, beside = x + 12 + tell.offsetWidth < innerWidth ? x + 12 : x - 12 - tell.offsetWidth;
    tell.style.left = `${Math.max(4, beside) + scrollX}px`;
    tell.style.top = `${frame.top + point.y * scale + scrollY + 12}px`;
  };
  const rising = [...points].sort((a, b) => a.x - b.x);
  board.addEventListener("pointermove", event => {
    const frame = board.getBoundingClientRect(), scale = board.viewBox.baseVal.width / frame.width;
    const [x, y] = [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
    const nearest = points.reduce((best, each) => { const away = Math.hypot(each.x - x, each.y - y); return away < best.away ? { each, away } : best; }, { away: 12 }).each;
    if (nearest !== at) show(nearest ?? null);
  });
  board.addEventListener("pointerleave", () => show(null));
  board.addEventListener("blur", () => show(null));
  board.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") show(null);
    if (!step) return;
    event.preventDefault();
    const place = at ? rising.indexOf(at) + step : step > 0 ? 0 : rising.length - 1;
    show(rising[(place + rising.length) % rising.length]);
  });
}

function radio(figure, className, value, title, checked) {
  const choice = html("label"), input = html("input", undefined, className);
  Object.assign(input, { type: "radio", name: `${className}-${figure.dataset.cell}`, value, checked });
  choice.append(input, ` ${title}`);
  return choice;
}

function controls(figure) {
  const row = html("div", undefined, "controls"), several = figure.dataset.cell.split("|"), start = figure.dataset.axis || "raw";
  if (several.length > 1) several.forEach((name, place) => row.append(radio(figure, "cell", name, name.replaceAll("_", " "), !place)));
  for (const [axis, title] of Object.entries(study.axes)) row.append(radio(figure, "axis", axis, title.split(" to ")[0], axis === start));
  const cell = study.cells[several[0]], choice = html("label", "category "), select = html("select");
  select.append(new Option("all", ""), ...[...new Set(cell.who.map(k => study.people.category[k]))].sort().map(name => new Option(name, name)));
  choice.append(select);
  row.append(choice);
  row.addEventListener("change", () => draw(figure));
  const key = html("div", undefined, "key"), by = study.looks[figure.dataset.by], used = new Set(several.flatMap(name => study.cells[name][by.key]));
  by.looks.forEach((look, place) => {
    if (!used.has(place)) return;
    const item = html("span"), sign = svg("svg", { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" }), mark = shape(look.mark, 8, 8, look.mark === "star" ? 7 : 5);
    mark.setAttribute("class", `point ${look.colour}`);
    sign.append(mark);
    item.append(sign, ` ${look.title}`);
    key.append(item);
  });
  figure.append(row, key);
}

function people(box) {
  const cell = study.cells[box.dataset.cell], table = html("table", undefined, "sortable personas"), head = table.createTHead().insertRow(), body = table.createTBody();
  for (const column of study.columns) {
    const title = html("th", undefined, column.digits === undefined ? "word" : ""), button = html("button", column.title);
    button.type = "button"; title.scope = "col"; title.append(button); head.append(title);
  }
  cell.who.forEach((person, k) => {
    const row = body.insertRow();
    row.className = study.roles[cell.role[k]];
    row.title = study.people.prompt[person] ?? "no system prompt";
    for (const column of study.columns) {
      const value = column.key in study.people ? study.people[column.key][person] : column.key === "role" ? study.roles[cell.role[k]] : cell[column.key][k];
      const text = column.digits === undefined ? String(value).replaceAll("_", " ") : !finite(value) ? "–" : column.digits === null ? Number(value.toPrecision(2)).toString() : column.signed ? (value < 0 ? "-" : "+") + Math.abs(value).toFixed(column.digits) : value.toFixed(column.digits);
      const place = row.insertCell();
      place.textContent = text;
      if (column.digits === undefined) place.className = "word";
    }
  });
  const search = html("input"), wide = html("div", undefined, "wide");
  Object.assign(search, { type: "search", placeholder: "name, category or role", ariaLabel: "show rows with these words" });
  search.addEventListener("input", () => { for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(search.value.toLowerCase()); });
  wide.append(table); box.append(search, wide); fits.observe(wide);
  sortable(table);
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => { const text = row.cells[column].textContent, number = parseFloat(text); return Number.isNaN(number) ? text : number; };
    const rows = [...table.tBodies[0].rows].sort((a, b) => { const x = value(a), y = value(b), order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)); return down ? -order : order; });
    table.tBodies[0].append(...rows);
  }));
}

function fill(box) {
  if (box.dataset.drawn) return;
  box.dataset.drawn = "yes";
  if (box.classList.contains("people")) return people(box);
  controls(box);
  draw(box);
}

document.querySelectorAll("table.sortable").forEach(sortable);
// a table that does not fit can be moved with the keyboard, too
const fits = new ResizeObserver(seen => { for (const { target } of seen) target.scrollWidth > target.clientWidth ? target.tabIndex = 0 : target.removeAttribute("tabindex"); });
document.querySelectorAll(".wide").forEach(part => fits.observe(part));
const boxes = [...document.querySelectorAll(".chart, .people")];
const open = box => { for (let part = box.closest("details"); part; part = part.parentElement.closest("details")) if (!part.open) return false; return true; };
const look = () => boxes.filter(open).forEach(fill);
document.querySelectorAll("details").forEach(part => part.addEventListener("toggle", look));
look();
// on paper cells stay as they are, open or a line: 25 of them with every persona would be 180 pages
let opened = [];
addEventListener("beforeprint", () => { opened = [...document.querySelectorAll("main > details:not(.cell, [open])")]; opened.forEach(part => { part.open = true; }); look(); });
addEventListener("afterprint", () => opened.forEach(part => { part.open = false; }));
