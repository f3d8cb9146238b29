// The page of `jaxcnn play`. The server computes; this file draws, and fills numbers into formulas.
//
// In order: small things, the state, the drawing, the exchange with the server, the colours, a column
// (one layer's places), the wires, the formulas, the inspector, and the controls.

const $ = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && name !== "role") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};
const size = (shape) => shape.reduce((a, b) => a * b, 1);

function short(v) {
  if (v === 0) return "0";
  if (!Number.isFinite(v)) return v < 0 ? "−∞" : "∞";
  const a = Math.abs(v);
  const text = a >= 1e-3 && a < 1e5 ? String(Number(v.toPrecision(3))) : v.toExponential(1);
  return text.replace("-", "−").replace("e−", "e−").replace("e-", "e−");
}
const exact = (v) => (v === 0 ? "0" : String(Number(v.toPrecision(8))).replaceAll("-", "−"));
const factor = (v) => (v < 0 ? `(${short(v)})` : short(v));
const percent = (p) => (p > 0.9995 && p < 1 ? "> 99.9" : (100 * p).toFixed(1)) + " %";

// ---- the state

const net = await (await fetch("/network")).json();
const weights = split(new Float32Array(await (await fetch("/weights")).arrayBuffer()), net.weights);
const shapes = Object.fromEntries(net.sections);
const shapeOf = (name) => shapes[`x.${name}`];

const state = {
  strokes: [], truth: null, explain: "predicted", view: "both", stage: null, rate: 0,
  parts: null, // the newest answer, by name: x.conv1, dx.conv1, after.conv1, d.conv1.w, ...
  chosen: null, // { kind, name, index } of the place that is looked at
  pinned: false,
};

function split(row, sections) {
  const parts = {};
  let start = 0;
  for (const [name, shape] of sections) {
    parts[name] = row.subarray(start, start + size(shape));
    start += size(shape);
  }
  return parts;
}

// ---- the drawing

const paper = $("paper");
const PEN = 0.078; // of the canvas's side
const small = make("canvas", { width: net.canvas, height: net.canvas });
const smallPen = small.getContext("2d", { willReadFrequently: true });

function drawStrokes(context, side, color) {
  context.clearRect(0, 0, side, side);
  context.strokeStyle = context.fillStyle = color;
  context.lineCap = context.lineJoin = "round";
  for (const { points, width } of state.strokes) {
    context.lineWidth = width * side;
    context.beginPath();
    context.moveTo(points[0][0] * side, points[0][1] * side);
    // Through the middles between points, so that few of them give a smooth line.
    for (let i = 1; i < points.length - 1; i++) {
      const [x, y] = points[i], [u, v] = points[i + 1];
      context.quadraticCurveTo(x * side, y * side, ((x + u) / 2) * side, ((y + v) / 2) * side);
    }
    const last = points.at(-1);
    context.lineTo(last[0] * side, last[1] * side + 1e-3);
    context.stroke();
  }
}

function drawPaper() {
  drawStrokes(paper.getContext("2d"), paper.width, css("--pen"));
  $("hint").hidden = state.strokes.length > 0;
}

function ink() {
  drawStrokes(smallPen, net.canvas, "#000");
  const { data } = smallPen.getImageData(0, 0, net.canvas, net.canvas);
  return Uint8Array.from({ length: net.canvas ** 2 }, (_, i) => data[4 * i + 3]);
}

function at(event) {
  const box = paper.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

let stroke = null;
paper.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || stroke) return;
  stopWriting();
  paper.setPointerCapture(event.pointerId);
  const pressed = event.pointerType === "pen" && event.pressure ? 0.6 + 0.8 * event.pressure : 1;
  stroke = { pointer: event.pointerId, points: [at(event)], width: PEN * pressed };
  state.strokes.push(stroke);
  changed(event.timeStamp);
});
paper.addEventListener("pointermove", (event) => {
  if (!stroke || event.pointerId !== stroke.pointer) return;
  const events = event.getCoalescedEvents?.() ?? [];
  for (const one of events.length ? events : [event]) stroke.points.push(at(one));
  changed(event.timeStamp);
});
for (const end of ["pointerup", "pointercancel"]) {
  paper.addEventListener(end, (event) => {
    if (event.pointerId === stroke?.pointer) stroke = null;
  });
}

function changed(since = performance.now()) {
  drawPaper();
  ask(since);
}

function undo() {
  stopWriting();
  state.strokes.pop();
  if (!state.strokes.length) setTruth(null);
  changed();
}

function clear() {
  stopWriting();
  state.strokes = [];
  setTruth(null);
  changed();
}

let writing = 0; // counts examples; a new one ends the one that is being written
function stopWriting() {
  writing++;
}

function example(digit, { atOnce = matchMedia("(prefers-reduced-motion: reduce)").matches } = {}) {
  stopWriting();
  const mine = writing;
  const strokes = net.examples[digit].map((points) => points.map(([x, y]) => [0.22 + 0.56 * x, 0.12 + 0.76 * y]));
  state.strokes = [];
  setTruth(digit);
  const total = strokes.reduce((n, points) => n + points.length, 0);
  const began = performance.now();
  const write = () => {
    if (mine !== writing) return;
    let left = atOnce ? total : Math.ceil(((performance.now() - began) / 500) * total) || 1;
    const done = left >= total;
    state.strokes = [];
    for (const points of strokes) {
      if (left <= 0) break;
      state.strokes.push({ points: points.slice(0, Math.max(left, 1)), width: PEN });
      left -= points.length;
    }
    changed();
    if (!done) requestAnimationFrame(write);
  };
  write();
}

// ---- the exchange: one question at a time, and always the newest drawing

let asking = false, again = null;
async function ask(since = performance.now()) {
  if (asking) {
    again ??= since;
    return;
  }
  asking = true;
  busy(true);
  try {
    const query = new URLSearchParams();
    const label = state.explain === "true" ? state.truth : state.explain;
    if (label !== "predicted" && label !== null) query.set("label", label);
    if (state.rate) query.set("rate", state.rate);
    const answer = await fetch(`/inside?${query}`, {
      method: "POST", body: ink(), headers: { "Content-Type": "application/octet-stream" },
    });
    if (!answer.ok) throw new Error(await answer.text());
    state.parts = split(new Float32Array(await answer.arrayBuffer()), net.sections);
    gone(null);
    show();
    const latency = Math.round(performance.now() - since);
    $("about").textContent = `This is ${net.name}, in float32. From stroke to picture: ${latency} ms.`;
  } catch (error) {
    gone(error instanceof TypeError ? "The server has ended: start jaxcnn play again." : error.message);
  } finally {
    asking = false;
  }
  if (again !== null) {
    const first = again;
    again = null;
    ask(first);
  } else busy(false);
}

const busy = (is) => document.querySelector(".network").setAttribute("aria-busy", is);

function gone(message) {
  document.querySelector(".gone")?.remove();
  if (message) document.body.append(make("p", { className: "gone", role: "alert", textContent: message }));
}

// ---- colours

let palette;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function readPalette() {
  const rgb = (name) => [1, 3, 5].map((i) => parseInt(css(name).slice(i, i + 2), 16));
  const mix = (a, b, t) => a.map((v, i) => Math.round(v + (b[i] - v) * t));
  const side = (near, far) => Array.from({ length: 256 }, (_, i) => {
    const t = i / 255;
    return t < 0.6 ? mix(rgb("--zero"), near, t / 0.6) : mix(near, far, (t - 0.6) / 0.4);
  });
  palette = {
    pos: side(rgb("--pos1"), rgb("--pos2")), neg: side(rgb("--neg1"), rgb("--neg2")),
    dead: rgb("--dead"), tie: rgb("--tie"),
  };
}

function color(v, most) {
  if (!(most > 0) || v === 0) return palette.pos[0];
  const t = Math.min(255, Math.round(255 * Math.sqrt(Math.abs(v) / most)));
  return v > 0 ? palette.pos[t] : palette.neg[t];
}

function largest(values) {
  let most = 0;
  for (const v of values) if (Number.isFinite(v)) most = Math.max(most, Math.abs(v));
  return most;
}

// ---- the network: what each place is computed from

const previous = (name) => net.places[net.places.indexOf(name) - 1];
const following = (name) => net.places[net.places.indexOf(name) + 1];
const dense = net.places.filter((name) => name.startsWith("dense")).length + 1; // The last one's number.
const layer = (name) => (name === "logits" ? `dense${dense}` : name);
function operation(name) {
  if (name === "logits" || name.startsWith("dense")) return "dense";
  if (name === "probabilities") return "softmax";
  return name.replace(/\d+/, "");
}
const kernelShape = Object.fromEntries(net.weights);
const reach = (name) => (kernelShape[`${name}.w`][0] - 1) / 2;
const spatial = (name) => shapeOf(name).length === 3;

function where(name, index) {
  const shape = shapeOf(name);
  if (shape.length === 1) return { k: index };
  const [, width, channels] = shape;
  return { i: Math.floor(index / (width * channels)), j: Math.floor(index / channels) % width, k: index % channels };
}
function indexOf(name, { i, j, k }) {
  const shape = shapeOf(name);
  return shape.length === 1 ? k : (i * shape[1] + j) * shape[2] + k;
}

// The values of the pooling window whose largest is the place `index` of a pool, row by row. Found once
// for an answer: the marks of both strips ask for every window.
const windowsOf = new WeakMap();
function pooled(name, index) {
  if (!windowsOf.has(state.parts)) windowsOf.set(state.parts, {});
  const found = (windowsOf.get(state.parts)[name] ??= []);
  return (found[index] ??= pooledAnew(name, index));
}
function pooledAnew(name, index) {
  const before = previous(name), { i, j, k } = where(name, index), s = net.windows[name];
  const inside = Array.from({ length: s * s }, (_, n) => indexOf(before, { i: s * i + Math.floor(n / s), j: s * j + (n % s), k }));
  const values = inside.map((n) => state.parts[`x.${before}`][n]);
  const top = Math.max(...values);
  const tied = inside.filter((_, n) => values[n] === top);
  return { inside, values, top, tied, winners: net.ties === "first" ? tied.slice(0, 1) : tied };
}
const SHARE = { first: () => 1, all: () => 1, split: (n) => 1 / n };

// The place of a pool whose window holds the place, or null: what is left over at the edge is in none.
function poolOf(name, { i, j, k }) {
  const s = net.windows[name], [height, width] = shapeOf(name), p = { i: Math.floor(i / s), j: Math.floor(j / s), k };
  return p.i < height && p.j < width ? indexOf(name, p) : null;
}

// The places of the layer before that `index` of `name` reads, as boxes of a map, or null for all.
function reads(name, index) {
  const before = previous(name);
  if (!before) return [];
  const op = operation(name), p = where(name, index);
  if (op === "relu") return [{ index }];
  if (op === "pool") return pooled(name, index).inside.map((index) => ({ index }));
  if (op !== "conv") return null;
  const [height, width, channels] = shapeOf(before), r = reach(name);
  return Array.from({ length: channels }, (_, k) => box(p, r, k, height, width));
}
function box({ i, j }, r, k, height, width) {
  return { k, top: Math.max(0, i - r), left: Math.max(0, j - r), bottom: Math.min(height, i + r + 1), right: Math.min(width, j + r + 1) };
}
// The places of the layer before that get the gradient of `index`.
function sends(name, index) {
  const op = operation(name);
  if (name === "probabilities") return [];
  if (op === "relu") return state.parts[`x.${previous(name)}`][index] > 0 ? [{ index }] : [];
  if (op === "pool") return pooled(name, index).winners.map((index) => ({ index }));
  return reads(name, index);
}
// The places of the next layer that the gradient of `index` is made of.
function receives(name, index) {
  const next = following(name);
  if (!next || next === "probabilities") return [];
  const op = operation(next), { i, j, k } = where(name, index);
  if (op === "relu") return [{ index }];
  if (op === "pool") {
    const to = poolOf(next, { i, j, k });
    return to === null ? [] : [{ index: to }];
  }
  if (op !== "conv") return null;
  const [height, width, channels] = shapeOf(next), r = reach(next);
  return Array.from({ length: channels }, (_, k) => box({ i, j }, r, k, height, width));
}

// ---- a column: the places of one layer, as maps on a canvas or as rows with bars

const KINDS = {
  x: { title: "Forward", say: "what each layer computes, from the drawing to the probabilities" },
  dx: { title: "Backward", say: "the gradient dJ/dx at every place, from the loss back to the drawing" },
  change: { title: "After one step", say: "how much each place changed: after minus before" },
};
class Column {
  constructor(kind, name) {
    Object.assign(this, { kind, name, shape: shapeOf(name), rows: null });
    this.channels = this.shape.length === 3 ? this.shape[2] : 1;
    this.body = make("div", { className: "body" });
    this.note = make("div", { className: "note" });
    const caption = make("figcaption", {}, make("b", { textContent: this.title() }), make("span", { textContent: this.shape.join("×") }));
    this.figure = make("figure", { tabIndex: 0 }, caption, this.body, this.note);
    this.figure.dataset.place = name;
    this.figure.dataset.kind = kind;
    this.figure.numbers = () => Array.from(this.values); // For whoever wants them from a console.
    if (name === "logits" || name === "probabilities") this.makeRows();
    else this.makeCanvas();
    this.body.addEventListener("pointermove", (event) => this.look(event, false));
    this.body.addEventListener("click", (event) => this.look(event, true));
    this.body.addEventListener("pointerleave", () => !state.pinned || inspect());
    this.figure.addEventListener("keydown", (event) => this.walk(event));
    this.figure.addEventListener("focus", () => {
      if (this.figure.matches(":focus-visible") && !this.isChosen()) choose(this.kind, this.name, this.strongest(), true);
    });
  }

  title() {
    if (this.kind === "x") return this.name;
    if (this.kind === "change") return `Δ ${this.name}`;
    return this.name === "probabilities" ? "dJ/dp" : this.name;
  }

  isChosen() {
    return state.chosen?.kind === this.kind && state.chosen.name === this.name;
  }

  makeCanvas() {
    this.canvas = make("canvas");
    this.pixels = make("canvas");
    this.body.append(this.canvas);
  }

  makeRows() {
    const list = make("div", { className: "rows" });
    this.rows = net.classes.map((name, index) => {
      const bar = make("i"), mark = make("u"), number = make("span", { className: "number" });
      const row = make("div", { className: "row" }, make("span", { className: "name", textContent: name, title: name }), make("span", { className: "bar" }, bar, mark), number);
      row.dataset.index = index;
      list.append(row);
      return { row, bar, mark, number };
    });
    this.body.append(list);
  }

  // How the maps lie: `across` by `down` of them, `cell` pixels of the page for each place.
  arrange(narrow, width) {
    if (this.rows) return;
    const [h, w] = this.shape.length === 3 ? this.shape : this.flat(narrow);
    const n = this.channels;
    this.gap = n <= 4 ? 3 : narrow ? 1 : 2; // Pixels between two maps.
    if (narrow) {
      this.across = n === 1 ? 1 : Math.min(n, n > 4 ? 8 : 4);
      this.down = Math.ceil(n / this.across);
      const room = n === 1 && this.shape.length === 3 ? width * 0.5 : width;
      this.cell = Math.max(1, Math.floor(((room + this.gap) / this.across - this.gap) / w));
    } else {
      this.down = n <= 4 ? n : n <= 16 ? 8 : n <= 32 ? 8 : 16;
      this.across = Math.ceil(n / this.down);
      this.cell = Math.max(1, Math.min(this.shape.length === 3 ? (n === 1 ? 2 : 4) : 7, Math.floor(((238 + this.gap) / this.down - this.gap) / h)));
    }
    Object.assign(this, { h, w });
    const cssWidth = this.across * (w * this.cell + this.gap) - this.gap, cssHeight = this.down * (h * this.cell + this.gap) - this.gap;
    this.canvas.style.width = `${cssWidth}px`;
    this.canvas.style.height = `${cssHeight}px`;
    const dpr = Math.max(1, Math.round(devicePixelRatio));
    this.scale = dpr;
    this.canvas.width = cssWidth * dpr;
    this.canvas.height = cssHeight * dpr;
    this.pixels.width = this.across * w;
    this.pixels.height = this.down * h;
  }

  flat(narrow) {
    const rest = Math.ceil(this.shape[0] / 4);
    return narrow ? [4, rest] : [rest, 4];
  }

  // Row and column, counted over all maps, of a place; and the other way round.
  cellOf(index) {
    if (this.shape.length === 1) return [Math.floor(index / this.w), index % this.w];
    const { i, j, k } = where(this.name, index);
    return [Math.floor(k / this.across) * this.h + i, (k % this.across) * this.w + j];
  }
  indexAt(row, column) {
    if (row < 0 || column < 0 || row >= this.down * this.h || column >= this.across * this.w) return null;
    if (this.shape.length === 1) return row * this.w + column < this.shape[0] ? row * this.w + column : null;
    const k = Math.floor(row / this.h) * this.across + Math.floor(column / this.w);
    return k < this.channels ? indexOf(this.name, { i: row % this.h, j: column % this.w, k }) : null;
  }

  get values() {
    const parts = state.parts;
    if (this.kind !== "change") return parts[`${this.kind}.${this.name}`];
    const before = parts[`x.${this.name}`];
    return parts[`after.${this.name}`].map((v, n) => v - before[n]);
  }

  // The place of the largest number, among those that are asked for.
  strongest(among = null) {
    const values = this.values;
    const size = (n) => Math.abs(values[n]);
    return (among ?? [...values.keys()]).reduce((best, n) => (size(n) > size(best) ? n : best), among?.[0] ?? 0);
  }

  // A strong one to begin with: in the middle, where no window is cut, and where the way goes on.
  telling() {
    const { name, kind } = this;
    const goesOn = (n) => kind === "x" || (sends(name, n)?.length ?? 1) > 0;
    const inner = (v, n) => Math.abs(v - (n - 1) / 2) < 0.3 * n;
    const told = [...this.values.keys()].filter((n) => {
      const { i, j } = where(name, n);
      return goesOn(n) && (!spatial(name) || (inner(i, this.shape[0]) && inner(j, this.shape[1])));
    });
    return this.strongest(told.length ? told : null);
  }

  draw() {
    const values = this.values;
    const most = largest(values);
    this.rows ? this.drawRows(values, most) : this.drawMaps(values, most);
    const lines = [this.name === "input" && this.kind === "x" ? "0 to 1" : `±${short(most)}`];
    if (this.kind === "x" && operation(this.name) === "relu") {
      const dead = values.reduce((n, v) => n + (v > 0 ? 0 : 1), 0);
      lines.push(`${Math.round((100 * dead) / values.length)} % dead`);
    }
    if (this.kind === "x" && operation(this.name) === "pool") {
      let ties = 0;
      for (let n = 0; n < values.length; n++) if (values[n] > 0 && pooled(this.name, n).tied.length > 1) ties++;
      lines.push(ties === 1 ? "1 tie" : `${ties} ties`);
    }
    this.note.replaceChildren(...lines.flatMap((line, n) => (n ? [make("br"), line] : [line])));
    this.figure.setAttribute("aria-label", `${KINDS[this.kind].title}, ${this.name}, ${this.shape.join(" by ")}, ${lines.join(", ")}. Arrow keys move over its places.`);
  }

  drawMaps(values, most) {
    const { w, h, across, pixels, canvas } = this;
    const context = pixels.getContext("2d");
    const image = context.createImageData(pixels.width, pixels.height);
    const marks = $("marks").checked ? this.marks() : null;
    for (let n = 0; n < values.length; n++) {
      const [row, column] = this.cellOf(n);
      const rgb = marks?.[n] === 1 ? palette.dead : marks?.[n] === 2 ? palette.tie : color(values[n], most);
      const at = 4 * (row * pixels.width + column);
      image.data[at] = rgb[0];
      image.data[at + 1] = rgb[1];
      image.data[at + 2] = rgb[2];
      image.data[at + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    const out = canvas.getContext("2d");
    out.imageSmoothingEnabled = false;
    out.clearRect(0, 0, canvas.width, canvas.height);
    const cell = this.cell * this.scale, gap = this.gap * this.scale;
    for (let k = 0; k < this.channels; k++) {
      const x = k % across, y = Math.floor(k / across);
      out.drawImage(pixels, x * w, y * h, w, h, x * (w * cell + gap), y * (h * cell + gap), w * cell, h * cell);
    }
  }

  // 1 where a ReLU is dead, 2 where the largest of a pooling window is one of several.
  marks() {
    const { name, kind } = this, op = operation(name);
    const before = op === "relu" ? previous(name) : null;
    const marks = new Uint8Array(size(this.shape));
    if (kind === "x" && before) state.parts[`x.${before}`].forEach((v, n) => (marks[n] = v > 0 ? 0 : 1));
    if (kind === "dx" && following(name) && operation(following(name)) === "relu") {
      state.parts[`x.${name}`].forEach((v, n) => (marks[n] = v > 0 ? 0 : 1));
    }
    const pool = following(name);
    if (kind !== "change" && pool && operation(pool) === "pool") {
      for (let n = 0; n < size(shapeOf(pool)); n++) {
        const { top, tied, winners } = pooled(pool, n);
        if (top > 0 && tied.length > 1) for (const t of kind === "x" ? tied : winners) marks[t] = 2;
      }
    }
    return marks;
  }

  drawRows(values, most) {
    const signed = !(this.kind === "x" && this.name === "probabilities");
    const after = this.kind === "x" && state.rate && signed === false ? state.parts["after.probabilities"] : null;
    const best = this.kind === "x" ? this.strongestSigned() : null;
    this.rows.forEach(({ row, bar, mark, number }, n) => {
      const v = values[n];
      const share = most ? Math.min(1, Math.abs(Number.isFinite(v) ? v : most) / (signed ? most : 1)) : 0;
      bar.className = v < 0 ? "neg" : "pos";
      bar.style.width = `${(signed ? 50 : 100) * share}%`;
      bar.style.left = signed ? `${v < 0 ? 50 - 50 * share : 50}%` : "0";
      mark.hidden = !after;
      if (after) mark.style.left = `calc(${100 * after[n]}% - ${2 * after[n]}px)`;
      number.textContent = signed ? short(v) : percent(v).replace(" %", "");
      row.classList.toggle("most", n === best);
      row.classList.toggle("label", this.kind === "dx" && n === state.parts.label[0]);
    });
  }

  strongestSigned() {
    return this.values.reduce((best, v, n, all) => (v > all[best] ? n : best), 0);
  }

  // The rectangle of a place, or of a box of places, in the coordinates of the strip.
  rectangle(target, origin) {
    if (this.rows) {
      const r = this.rows[target.index].row.getBoundingClientRect();
      return { x: r.left - origin.left, y: r.top - origin.top, w: r.width, h: r.height };
    }
    const base = this.canvas.getBoundingClientRect();
    const { k, top, left, bottom, right } = target.index === undefined ? target : this.boxOf(target.index);
    const x = (k % this.across) * (this.w * this.cell + this.gap), y = Math.floor(k / this.across) * (this.h * this.cell + this.gap);
    return {
      x: base.left - origin.left + x + left * this.cell, y: base.top - origin.top + y + top * this.cell,
      w: (right - left) * this.cell, h: (bottom - top) * this.cell,
    };
  }
  boxOf(index) {
    if (this.shape.length === 1) {
      const [i, j] = this.cellOf(index);
      return { k: 0, top: i, left: j, bottom: i + 1, right: j + 1 };
    }
    const { i, j, k } = where(this.name, index);
    return { k, top: i, left: j, bottom: i + 1, right: j + 1 };
  }
  whole(origin) {
    const r = (this.canvas ?? this.body.firstChild).getBoundingClientRect();
    return { x: r.left - origin.left - 2, y: r.top - origin.top - 2, w: r.width + 4, h: r.height + 4 };
  }

  look(event, pin) {
    if (state.pinned && !pin) return;
    const index = this.indexOfEvent(event);
    if (index !== null) choose(this.kind, this.name, index, pin);
  }
  indexOfEvent(event) {
    if (this.rows) {
      const row = event.target.closest(".row");
      return row ? Number(row.dataset.index) : null;
    }
    const r = this.canvas.getBoundingClientRect();
    const x = event.clientX - r.left, y = event.clientY - r.top;
    const across = this.w * this.cell + this.gap, down = this.h * this.cell + this.gap;
    const column = Math.floor((x % across) / this.cell), row = Math.floor((y % down) / this.cell);
    if (x < 0 || y < 0 || column >= this.w || row >= this.h) return null;
    return this.indexAt(Math.floor(y / down) * this.h + row, Math.floor(x / across) * this.w + column);
  }

  walk(event) {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const from = this.isChosen() ? state.chosen.index : this.strongest();
    let to;
    if (this.rows) to = from + step[0] >= 0 && from + step[0] < this.rows.length ? from + step[0] : null;
    else {
      const [row, column] = this.cellOf(from);
      to = this.indexAt(row + step[0], column + step[1]);
    }
    choose(this.kind, this.name, to ?? from, true);
  }
}

// ---- the strips and their wires

const strips = {};
for (const [kind, { title, say }] of Object.entries(KINDS)) {
  const columns = Object.fromEntries(net.places.map((name) => [name, new Column(kind, name)]));
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.classList.add("wires");
  svg.setAttribute("aria-hidden", "true");
  const inner = make("div", { className: "columns" }, ...Object.values(columns).map((c) => c.figure), svg);
  const element = make("section", { className: "strip" }, make("h3", {}, title, make("span", { textContent: `, ${say}` })), inner);
  element.dataset.kind = kind;
  strips[kind] = { element, inner, columns, svg };
  $("strips").append(element);
}

function visible(kind) {
  if (kind === "change") return state.rate > 0;
  return state.view === "both" || (state.view === "forward") === (kind === "x");
}

function arrange() {
  const width = $("strips").clientWidth, narrow = width < 720;
  document.body.classList.toggle("narrow", narrow);
  for (const { columns } of Object.values(strips)) {
    for (const column of Object.values(columns)) column.arrange(narrow, width - 22);
  }
}

function show() {
  if (!state.parts) return;
  for (const [kind, { element, columns }] of Object.entries(strips)) {
    element.hidden = !visible(kind);
    if (!element.hidden) for (const column of Object.values(columns)) column.draw();
  }
  if (!state.chosen || !visible(state.chosen.kind)) {
    state.pinned = false;
    state.chosen = firstChoice();
  }
  showAnswer();
  showStage();
  inspect();
}

// Something to read before anybody has pointed anywhere.
function firstChoice() {
  const kind = state.view === "forward" ? "x" : "dx", all = (op) => net.places.filter((name) => operation(name) === op);
  const name = (kind === "x" ? all("conv")[1] : all("relu")[0]) ?? net.places[1];
  return { kind, name, index: strips[kind].columns[name].telling() };
}

const SVG = "http://www.w3.org/2000/svg";
function wires() {
  for (const { svg } of Object.values(strips)) svg.replaceChildren();
  const { kind, name, index } = state.chosen;
  const { svg, inner, columns } = strips[kind];
  const origin = inner.getBoundingClientRect();
  svg.setAttribute("width", origin.width);
  svg.setAttribute("height", origin.height);
  const put = (tag, attributes, className) => {
    const element = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (className) element.setAttribute("class", className);
    svg.append(element);
  };
  const frame = (r, className) => put("rect", { x: r.x - 0.5, y: r.y - 0.5, width: r.w + 1, height: r.h + 1 }, className);
  const here = columns[name].rectangle({ index }, origin);
  const connect = (other, targets, className) => {
    if (!other) return;
    const all = targets === null ? [columns[other].whole(origin)] : targets.map((t) => columns[other].rectangle(t, origin));
    for (const r of all) {
      frame(r, className);
      const leftward = r.x < here.x;
      const x1 = leftward ? here.x : here.x + here.w, x2 = leftward ? r.x + r.w : r.x;
      if (!document.body.classList.contains("narrow")) {
        put("line", { x1, y1: here.y, x2, y2: r.y }, className);
        put("line", { x1, y1: here.y + here.h, x2, y2: r.y + r.h }, className);
      }
    }
  };
  if (kind === "dx") {
    connect(previous(name), sends(name, index), "to");
    connect(following(name), receives(name, index), "from");
  } else connect(previous(name), reads(name, index), "to");
  frame(here, "here");
  for (const twin of Object.keys(strips)) {
    if (twin === kind || !visible(twin)) continue;
    const box = strips[twin].inner.getBoundingClientRect();
    const r = strips[twin].columns[name].rectangle({ index }, box);
    const element = document.createElementNS(SVG, "rect");
    for (const [key, value] of Object.entries({ x: r.x - 0.5, y: r.y - 0.5, width: r.w + 1, height: r.h + 1 })) element.setAttribute(key, value);
    element.setAttribute("class", "here");
    strips[twin].svg.append(element);
  }
}

// ---- the formulas, filled in

// A sum with its largest products written out: `terms` are pairs of factors.
function sum(terms, start = null) {
  const products = terms.map(([a, b]) => a * b);
  const order = products.map((_, n) => n).sort((a, b) => Math.abs(products[b]) - Math.abs(products[a])).filter((n) => products[n] !== 0);
  const total = products.reduce((a, b) => a + b, start ?? 0);
  const shown = order.slice(0, 4).map((n) => `${factor(terms[n][0])}·${factor(terms[n][1])}`);
  const rest = order.slice(4);
  if (rest.length) shown.push(`${factor(rest.reduce((a, n) => a + products[n], 0))} from ${rest.length} more`);
  if (start !== null) shown.unshift(short(start));
  return { total, text: shown.join(" + ") || "0" };
}

// Pairs of an input's window and its kernel, one pair for each of the other side's channels.
function windows(name, index, backward) {
  const from = backward ? following(name) : previous(name), conv = backward ? from : name;
  const values = state.parts[`${backward ? "dx" : "x"}.${from}`], w = weights[`${conv}.w`];
  const [k, , cin, cout] = kernelShape[`${conv}.w`], r = reach(conv), [height, width, channels] = shapeOf(from);
  const place = where(name, index), grids = [], terms = [];
  for (let c = 0; c < channels; c++) {
    const patch = new Float32Array(k * k), kernel = new Float32Array(k * k);
    let product = 0;
    for (let a = 0; a < k; a++) {
      for (let b = 0; b < k; b++) {
        // Forward reads x[i+a-r, j+b-r]; backward g[i-a+r, j-b+r], the kernel turned by 180 degrees.
        const i = place.i + (backward ? r - a : a - r), j = place.j + (backward ? r - b : b - r);
        const inside = i >= 0 && j >= 0 && i < height && j < width;
        const v = inside ? values[(i * width + j) * channels + c] : 0;
        const weight = w[((a * k + b) * cin + (backward ? place.k : c)) * cout + (backward ? c : place.k)];
        const slot = backward ? (k - 1 - a) * k + (k - 1 - b) : a * k + b;
        patch[slot] = v;
        kernel[slot] = weight;
        product += v * weight;
        if (inside) terms.push([v, weight]);
      }
    }
    grids.push({ map: c, k, patch, kernel, product });
  }
  return { grids, terms };
}

function forward(name, index) {
  const op = operation(name), x = state.parts, p = where(name, index), value = x[`x.${name}`][index];
  if (op === "input") return { formula: "x", filled: "", value, say: "The drawing, scaled to 20 pixels and centred by its mass, as MNIST’s digits are." };
  if (op === "conv") {
    const { grids, terms } = windows(name, index, false), bias = weights[`${name}.b`][p.k], { total, text } = sum(terms, bias);
    return { formula: "z[i,j,k] = b[k] + Σ x[i+a,j+b,c] · w[a,b,c,k]   over a, b, c", filled: text, total, value, grids, words: ["x", "w"] };
  }
  if (op === "dense") {
    const before = x[`x.${previous(name)}`], w = weights[`${layer(name)}.w`], n = shapeOf(name)[0];
    const { total, text } = sum([...before].map((v, i) => [v, w[i * n + index]]), weights[`${layer(name)}.b`][index]);
    return { formula: "z[k] = b[k] + Σ x[j] · w[j,k]   over j", filled: text, total, value };
  }
  if (op === "relu") {
    const z = x[`x.${previous(name)}`][index];
    return { formula: "y = max(z, 0)", filled: `max(${short(z)}, 0)`, total: Math.max(z, 0), value, say: z > 0 ? "" : "Dead for this drawing: it gives 0, and no gradient passes back." };
  }
  if (op === "pool") {
    const { values, top, tied } = pooled(name, index);
    const say = tied.length > 1 ? `${tied.length} of the ${values.length} are largest: ${tieRule()}` : "";
    const more = values.length > 9 ? ` and ${values.length - 9} more` : "";
    return { formula: `y = the largest of its ${square(name)} window`, filled: `max(${values.slice(0, 9).map(short).join(", ")}${more})`, total: top, value, say };
  }
  const z = x["x.logits"], most = Math.max(...z), e = [...z].map((v) => Math.exp(v - most)), all = e.reduce((a, b) => a + b, 0);
  return { formula: "p[k] = exp(z[k]) / Σ exp(z[j])   over j", filled: `exp(${short(z[index])}) / ${short(all * Math.exp(most))}`, total: e[index] / all, value };
}

function backward(name, index) {
  const x = state.parts, p = where(name, index), value = x[`dx.${name}`][index], label = x.label[0], next = following(name);
  const y = index === label ? 1 : 0;
  if (name === "probabilities") {
    const of = x["x.probabilities"][index];
    return { formula: "dJ/dp[k] = −y[k] / p[k]", filled: `−${y} / ${short(of)}`, total: y ? -1 / of : 0, value, say: "Beside the path: the loss takes the logits, so this is shown for comparison with the post alone." };
  }
  if (name === "logits") {
    const of = x["x.probabilities"][index];
    return { formula: "dz[k] = p[k] − y[k]", filled: `${short(of)} − ${y}`, total: of - y, value, say: `The label is ${net.classes[label]}: its logit is pushed up, all others down.` };
  }
  const op = operation(next), g = x[`dx.${next}`];
  if (op === "relu") {
    const z = x[`x.${name}`][index];
    return { formula: "dz = g where z > 0, else 0", filled: z > 0 ? `${short(g[index])}, since z = ${short(z)} > 0` : `0, since z = ${short(z)} is not above 0`, total: z > 0 ? g[index] : 0, value };
  }
  if (op === "pool") {
    const to = poolOf(next, p), formula = `dx = g to the largest of the ${square(next)} window, 0 to the others`;
    if (to === null) return { formula, filled: "0: it is left over at the edge, in no window", total: 0, value };
    const { values, tied, winners, top } = pooled(next, to), wins = winners.includes(index);
    const total = wins ? g[to] * SHARE[net.ties](tied.length) : 0;
    const why = wins ? "it is the largest of its window" : tied.includes(index) ? "an equal one comes before it" : `${short(top)} beside it is larger`;
    const say = tied.length > 1 ? `${tied.length} of the ${values.length} are largest${top === 0 ? ", all 0" : ""}: ${tieRule()}` : "";
    return { formula, filled: `${short(total)}: ${why}`, total, value, say };
  }
  if (op === "conv") {
    const { grids, terms } = windows(name, index, true), { total, text } = sum(terms);
    return { formula: "dx[i,j,c] = Σ g[i−a,j−b,k] · w[a,b,c,k]   over a, b, k", filled: text, total, value, grids, words: ["g", "w turned"] };
  }
  const w = weights[`${layer(next)}.w`], n = shapeOf(next)[0];
  // Flattened, a place of the last pool has the number that it has in its row of numbers.
  const { total, text } = sum([...g].map((v, k) => [v, w[index * n + k]]));
  return { formula: "dx[j] = Σ g[k] · w[j,k]   over k", filled: text, total, value };
}

function change(name, index) {
  const before = state.parts[`x.${name}`][index], after = state.parts[`after.${name}`][index];
  return { formula: "after one step w ← w − rate · dJ/dw", filled: `${exact(after)} − ${exact(before)}`, total: after - before, value: after - before };
}

const square = (pool) => `${net.windows[pool]}×${net.windows[pool]}`;
const tieRule = () => ({ first: "the first one, row by row, gets all of the gradient.", all: "each of them gets all of the gradient.", split: "they share the gradient equally." })[net.ties];

// ---- the inspector

function choose(kind, name, index, pin) {
  state.chosen = { kind, name, index };
  if (pin) state.pinned = true;
  inspect();
}

function inspect() {
  if (!state.parts) return;
  const { kind, name, index } = state.chosen, p = where(name, index);
  const found = { x: forward, dx: backward, change }[kind](name, index);
  const place = spatial(name) ? `map ${p.k}, row ${p.i}, column ${p.j}` : name === "logits" || name === "probabilities" ? `class ${net.classes[index]}` : `unit ${index}`;
  const symbol = { x: name, dx: `dJ/d ${name}`, change: `Δ ${name}` }[kind];
  const value = make("span", { className: "value", textContent: exact(found.value) });
  const head = make("h3", {}, `${symbol}, ${place}:  `, value);
  const lines = [make("p", { className: "formula", textContent: found.formula })];
  if (found.filled) lines.push(make("p", { className: "filled", textContent: `= ${found.filled} = ${short(found.total)}` }));
  const told = [];
  if (kind === "dx" && previous(name)) {
    const to = sends(name, index), where = previous(name);
    if (name === "probabilities") told.push();
    else if (to === null) told.push(`It goes on to every place of ${where}.`);
    else if (!to.length) told.push(`It ends here: the ReLU was not above 0.`);
    else if (to.length > 1 && to[0].k !== undefined) told.push(`It goes on to the framed windows of ${where}’s ${to.length} maps.`);
    else told.push(`It goes on to the framed ${to.length > 1 ? "places" : to[0].k !== undefined ? "window" : "place"} of ${where}.`);
  }
  if (found.say) told.push(found.say);
  if (told.length) lines.push(make("p", { className: "say", textContent: told.join(" ") }));
  if (found.grids) lines.push(gridsOf(found, kind));
  else if (kind === "dx" && operation(name) === "conv") lines.push(kernels(name, p.k));
  const inspector = $("inspector");
  Object.assign(inspector.dataset, { kind, place: name, index, value: found.value, total: found.total ?? found.value });
  inspector.replaceChildren(head, ...lines);
  wires();
}

function gridsOf({ grids, words }, kind) {
  const most = largest(grids.flatMap(({ patch }) => [...patch])), heaviest = largest(grids.flatMap(({ kernel }) => [...kernel]));
  const shown = grids.length <= 8 ? grids : [...grids].sort((a, b) => Math.abs(b.product) - Math.abs(a.product)).slice(0, 8);
  const list = shown.map(({ map, k, patch, kernel, product }) => make("div", {}, `map ${map}`, grid(patch, k, most), "·", grid(kernel, k, heaviest), `= ${short(product)}`));
  if (shown.length < grids.length) list.push(make("div", { textContent: `and ${grids.length - shown.length} more maps` }));
  const legend = make("div", { textContent: `${words[0]} · ${words[1]}:` });
  return make("div", { className: "grids" }, legend, ...list);
}

// The kernel that made a map of a convolution, and the gradient of it: dw = Σ x g.
function kernels(name, map) {
  const [k, , cin, cout] = kernelShape[`${name}.w`];
  const take = (all, c) => Float32Array.from({ length: k * k }, (_, n) => all[(n * cin + c) * cout + map]);
  const w = Array.from({ length: cin }, (_, c) => take(weights[`${name}.w`], c)), dw = Array.from({ length: cin }, (_, c) => take(state.parts[`d.${name}.w`], c));
  const mostW = largest(w.flatMap((v) => [...v])), mostD = largest(dw.flatMap((v) => [...v]));
  const shown = Math.min(cin, 8);
  return make("div", { className: "grids" }, make("div", { textContent: "kernel w, and dw[a,b,c,k] = Σ x[i+a,j+b,c] · g[i,j,k]:" }),
    ...w.slice(0, shown).map((v, c) => make("div", {}, `c ${c}`, grid(v, k, mostW), grid(dw[c], k, mostD))),
    make("div", { textContent: `db = ${short(state.parts[`d.${name}.b`][map])}` }));
}

function grid(values, k, most) {
  const cell = k > 3 ? 7 : 9, canvas = make("canvas", { width: k * cell, height: k * cell });
  const context = canvas.getContext("2d");
  values.forEach((v, n) => {
    context.fillStyle = `rgb(${color(v, most).join(",")})`;
    context.fillRect((n % k) * cell, Math.floor(n / k) * cell, cell, cell);
  });
  return canvas;
}

// ---- answers, the stages of the backward pass

function showAnswer() {
  const p = state.parts["x.probabilities"], best = p.indexOf(Math.max(...p)), [before, after] = state.parts.loss, label = state.parts.label[0];
  const drawn = state.strokes.length > 0;
  $("answer").className = net.classes[best].length > 1 ? "word" : "";
  $("answer").children[0].textContent = drawn ? net.classes[best] : "?";
  $("answer").children[1].textContent = drawn ? percent(p[best]) : "";
  $("loss").replaceChildren("J = −log p[", make("b", { textContent: net.classes[label] }), "] = ", make("b", { textContent: short(before) }));
  for (const button of document.querySelectorAll("[data-label]")) {
    const mine = button.dataset.label;
    button.setAttribute("aria-checked", String(mine === String(state.explain)));
    button.tabIndex = mine === String(state.explain) ? 0 : -1;
    if (mine === "true") {
      button.disabled = state.truth === null;
      button.title = state.truth === null ? "Known for an example alone: choose one, or say below what you drew" : `The example is a ${net.classes[state.truth]}`;
    }
  }
  const q = state.parts["after.probabilities"];
  if (state.rate) {
    $("step").replaceChildren(`rate ${short(state.rate)}: J `, make("b", { textContent: `${short(before)} → ${short(after)}` }), `, p[${net.classes[label]}] `, make("b", { textContent: `${percent(p[label])} → ${percent(q[label])}` }));
  } else $("step").textContent = "Move the slider: w ← w − rate · dJ/dw, and see what changes.";
}

// How the gradient comes to a place, in words.
function stageOf(name) {
  if (name === "probabilities") return "The loss is J = −log p[label]. Its slope at the probabilities is −1 / p at the label and 0 elsewhere.";
  if (name === "logits") return "Through softmax and loss together: p − y. The first gradient on the path.";
  const next = following(name), op = operation(next), n = size(shapeOf(name));
  const again = spatial(name) ? `, then the ${n} numbers are ${shapeOf(name).join("×")} again` : "";
  const way = {
    relu: "Through the ReLU: g where its input was above 0, nothing where it was dead.",
    pool: op === "pool" && `Back through the pool: each gradient goes to the largest of its ${square(next)} window.`,
    conv: `Back through ${next}: g, padded, correlated with the kernels turned by 180°.`,
    dense: `Back through ${next === "logits" ? "the last dense layer" : next}: dx = g wᵀ, each number gets all slopes, weighed by its weights${again}.`,
  }[op];
  return name === "input" ? `${way} This is the drawing: where more ink (blue) or less (orange) would lower the loss.` : way;
}

function showStage() {
  const { stage } = state, order = [...net.places].reverse();
  order.forEach((name, n) => {
    const { classList } = strips.dx.columns[name].figure;
    classList.toggle("waiting", stage !== null && n > stage);
    classList.toggle("now", n === stage);
  });
  $("stage").hidden = stage === null;
  if (stage !== null) $("stage").replaceChildren(make("b", { textContent: `${stage + 1} of ${order.length}, ${order[stage]}. ` }), stageOf(order[stage]));
  $("previous").disabled = stage === null || stage === 0;
  $("all").disabled = stage === null;
}

function stepTo(stage) {
  const order = [...net.places].reverse();
  if (stage !== null && (stage < 0 || stage >= order.length)) return;
  state.stage = stage;
  if (stage !== null && state.view === "forward") setView("both");
  if (stage !== null) {
    state.pinned = true;
    state.chosen = { kind: "dx", name: order[stage], index: strips.dx.columns[order[stage]].telling() };
  }
  show();
}

// ---- the controls

function setView(view) {
  state.view = view;
  if (view === "forward") state.stage = null;
  for (const button of document.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-checked", String(button.dataset.view === view));
    button.tabIndex = button.dataset.view === view ? 0 : -1;
  }
  show();
}

function setTruth(digit) {
  state.truth = digit;
  if (digit === null && state.explain === "true") state.explain = "predicted";
}

function explain(label) {
  if (label === "true" && state.truth === null) return;
  state.explain = label;
  ask();
}

function toggleTheme() {
  setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  try {
    localStorage.setItem("theme", document.documentElement.dataset.theme);
  } catch {} // Without storage the choice lasts as long as the page.
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  readPalette();
  drawPaper();
  show();
}

// Arrow keys move within a group of which one is chosen, as radio buttons do.
for (const group of document.querySelectorAll('[role="radiogroup"]')) {
  group.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const buttons = [...group.querySelectorAll('[role="radio"]:not(:disabled)')], n = buttons.indexOf(document.activeElement);
    const next = buttons[(n + step + buttons.length) % buttons.length];
    next.focus();
    next.click();
  });
}

net.classes.forEach((name, digit) => {
  const text = name.length > 1 ? String(digit) : name;
  if (net.examples.length) $("examples").append(make("button", { type: "button", textContent: String(digit), onclick: () => example(digit), ariaLabel: `Write an example of ${digit}` }));
  const any = make("button", { type: "button", role: "radio", textContent: text, title: name, ariaLabel: `label ${name}` });
  any.dataset.label = digit;
  $("any").append(any);
});
for (const button of document.querySelectorAll("[data-label]")) {
  const label = button.dataset.label;
  button.onclick = () => explain(/^\d$/.test(label) ? Number(label) : label);
}
for (const button of document.querySelectorAll("[data-view]")) button.onclick = () => setView(button.dataset.view);
$("undo").onclick = undo;
$("clear").onclick = clear;
$("next").onclick = () => stepTo(state.stage === null ? 0 : state.stage + 1);
$("previous").onclick = () => stepTo(state.stage - 1);
$("all").onclick = () => stepTo(null);
$("marks").onchange = show;
$("theme").onclick = toggleTheme;
$("keys").onclick = () => $("help").showModal();
$("ties").textContent = tieRule();
$("rate").oninput = ({ target }) => {
  const position = Number(target.value);
  state.rate = position ? Number((net.max_rate * 10 ** (-4 + (4 * position) / 100)).toPrecision(4)) : 0;
  ask();
};

const KEYS = {
  u: undo, c: clear, m: () => $("marks").click(), t: toggleTheme, "?": () => $("help").showModal(),
  f: () => setView("forward"), b: () => setView("backward"), v: () => setView("both"),
  n: () => stepTo(state.stage === null ? 0 : state.stage + 1), p: () => stepTo(state.stage === null ? null : state.stage - 1),
  Escape: () => {
    state.pinned = false;
    stepTo(null);
  },
};
addEventListener("keydown", (event) => {
  if ($("help").open || event.altKey) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key === "z") undo();
    return;
  }
  if (/^\d$/.test(event.key) && net.examples.length) example(Number(event.key));
  else KEYS[event.key]?.();
});

new ResizeObserver(() => {
  arrange();
  show();
}).observe($("strips"));

let stored = null;
try {
  stored = localStorage.getItem("theme");
} catch {} // No storage: the system's choice.
arrange();
setTheme(stored ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", ({ matches }) => setTheme(matches ? "dark" : "light"));
$("examples-title").hidden = !net.examples.length;
setView("both");
if (net.examples.length) example(3, { atOnce: true });
else ask();
