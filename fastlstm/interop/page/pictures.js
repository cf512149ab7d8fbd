// The model's inside and its training, as pictures.

const inside = { section: $("#inside"), unit: 0, states: [], heat: null };
const LINES = 16, ROW = 22; // letters in the heat map, and pixels of each one's line
const EXCITED = 0.6, SUBDUED = 0.32; // the strongest colours: dark text stays legible on them

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).split(" ").map(Number);
const unitName = (unit) => (L > 1 ? `layer ${Math.floor(unit / H) + 1}, unit ${(unit % H) + 1}` : `unit ${unit + 1}`);

// Some names or a text, letter by letter in the colours of a unit.
async function colourStates(texts) {
  const form = facts.boundary ? names.form : text.form;
  inside.states = await ask("cells", { texts, given: given(form) });
  $(".states").replaceChildren(...inside.states.map(({ letters }) =>
    make("p", { dir: "auto" }, ...letters.map((letter) => make("span", {}, letter)))));
  showUnit();
}

function showUnit() {
  const { unit, states } = inside, at = (n, t) => states[n].states[t * L * H + unit];
  const most = states.reduce((most, { letters }, n) => letters.reduce((m, _, t) => Math.max(m, Math.abs(at(n, t))), most), 0.5);
  [...$(".states").children].forEach((line, n) => [...line.children].forEach((span, t) => {
    const cell = at(n, t), strongest = cell > 0 ? EXCITED : SUBDUED;
    span.style.setProperty("--heat", ((strongest * Math.abs(cell)) / most).toFixed(3));
    span.style.setProperty("--tone", cell > 0 ? "var(--accent)" : "var(--ink)");
  }));
  for (const button of inside.section.querySelectorAll(".found button")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.unit) === unit));
  }
  $(".heat").style.setProperty("--at", (unit + 0.5) / (L * H));
}

function chooseUnit(unit) {
  inside.unit = Math.min(Math.max(unit, 0), L * H - 1);
  inside.section.querySelector("input[name=unit]").value = inside.unit + 1;
  showUnit();
}

// All units over the last letters of a name or text: a line for each letter, a column for each unit.
async function showHeat(written) {
  const form = facts.boundary ? names.form : text.form;
  const [{ letters, states }] = await ask("cells", { texts: [written], given: given(form) });
  inside.heat = { letters: letters.slice(-LINES), states: states.subarray(-LINES * L * H) };
  $("#heat-title").replaceChildren("All units over ", make("bdi", {}, `“${inside.heat.letters.join("")}”`));
  $(".heat .rows").replaceChildren(...inside.heat.letters.map((letter) => make("span", {}, glyph(letter))));
  paintHeat();
}

function paintHeat() {
  if (!inside.heat) return;
  const { letters, states } = inside.heat, canvas = $(".heat canvas"), width = L * H;
  const [paper, ink, accent] = ["--paper", "--ink", "--accent"].map(colour);
  canvas.hidden = !letters.length;
  if (!letters.length) return;
  Object.assign(canvas, { width, height: letters.length });
  canvas.style.setProperty("height", `${letters.length * ROW}px`);
  const picture = new ImageData(width, letters.length);
  states.forEach((cell, n) => {
    const tone = cell > 0 ? accent : ink, share = Math.abs(Math.tanh(cell / 2));
    for (let k = 0; k < 3; k++) picture.data[4 * n + k] = paper[k] + share * (tone[k] - paper[k]);
    picture.data[4 * n + 3] = 255;
  });
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function startInside() {
  const { section } = inside, canvas = $(".heat canvas"), count = L * H;
  $("#inside-note").textContent =
    `The network remembers in ${number.format(count)} numbers, one for each unit, and every letter changes them. ` +
    "Choose a unit and watch its number along what was drawn.";
  const input = $("input[name=unit]", section);
  input.max = count;
  input.addEventListener("input", () => input.value && chooseUnit(Number(input.value) - 1));
  const point = ({ clientX }) => {
    const { left, width } = canvas.getBoundingClientRect();
    chooseUnit(Math.floor(((clientX - left) / width) * count));
  };
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointermove", (event) => event.buttons && point(event));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageDown: -16, PageUp: 16 }[event.key];
    if (!step) return;
    event.preventDefault();
    chooseUnit(inside.unit + step);
  });
  $(".found", section).hidden = !facts.units.length;
  $(".found ul", section).append(...facts.units.map(({ what, unit, r }) => make("li", {},
    make("button", { type: "button", "data-unit": unit, "aria-pressed": "false", title: `${unitName(unit)}, correlation ${r.toFixed(2)}` },
      what, make("small", {}, `${unit + 1} · ${r < 0 ? "−" : "+"}${Math.abs(r).toFixed(2)}`)))));
  $(".found ul", section).addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button) chooseUnit(Number(button.dataset.unit));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paintHeat);
  chooseUnit(facts.units.length ? facts.units[0].unit : 0);
}

// The training's losses.
const SVG = "http://www.w3.org/2000/svg";

function draw(parent, tag, attributes, content = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(content);
  parent.append(element);
  return element;
}

// Round numbers between two others, about so many.
function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.max(Math.floor(high / step + 1e-9) - first + 1, 0) }, (_, n) => (first + n) * step);
}

const curves = { section: $("#curves"), svg: $("#curves svg"), range: $("#curves input") };

// Both losses over the epochs, as wide as there is room; `curves.show` moves the cursor to the moment that is chosen.
function drawCurves() {
  const { section, svg, range } = curves, { epoch, train, validation } = facts.curves;
  const wide = Math.min(Math.max(svg.clientWidth, 280), 736), high = wide < 480 ? 220 : 300;
  const left = 36, right = wide - 84, top = 10, bottom = high - 28;
  const all = [...train, ...validation].filter((v) => v !== null), [first, last] = [epoch[0], epoch.at(-1)];
  const low = Math.min(...all), most = Math.max(...all), pad = (most - low || 1) * 0.06;
  const x = (e) => left + ((e - first) / (last - first || 1)) * (right - left);
  const y = (v) => top + ((most + pad - v) / (most - low + 2 * pad)) * (bottom - top);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  for (const v of ticks(low - pad, most + pad, 5)) {
    draw(svg, "line", { class: "grid", x1: left, x2: right, y1: y(v), y2: y(v) });
    draw(svg, "text", { x: left - 8, y: y(v) + 4, "text-anchor": "end" }, `${Number(v.toFixed(6))}`);
  }
  for (const e of ticks(first, last, wide < 480 ? 4 : 6)) {
    draw(svg, "text", { x: x(e), y: high - 6, "text-anchor": "middle" }, `${Number(e.toFixed(6))}`);
  }
  draw(svg, "text", { x: right + 20, y: high - 6 }, "epochs");
  const cursor = draw(svg, "line", { class: "cursor", y1: top, y2: bottom });
  const words = { train: "trained on", validation: "held out" }, dots = {}, ends = {};
  for (const [name, values] of Object.entries({ train, validation })) {
    const points = values.flatMap((v, n) => (v === null ? [] : [[x(epoch[n]), y(v)]]));
    if (!points.length) continue;
    draw(svg, "path", { class: name, d: `M${points.map(([a, b]) => `${a.toFixed(1)},${b.toFixed(1)}`).join("L")}` });
    dots[name] = draw(svg, "circle", { class: name, r: 3.5 });
    ends[name] = points.at(-1)[1];
  }
  const near = Math.abs(ends.train - ends.validation) < 16 ? 8 : 0;
  for (const name of Object.keys(dots)) {
    const away = ends[name] === Math.max(...Object.values(ends)) ? near : -near;
    draw(svg, "text", { class: name, x: right + 10, y: ends[name] + 4 + away }, words[name]);
  }
  curves.nearest = (share) => {
    const distances = epoch.map((e) => Math.abs(x(e) - share * wide));
    return distances.indexOf(Math.min(...distances));
  };
  curves.show = () => {
    const n = Number(range.value), parts = [`Epoch ${Number(epoch[n].toFixed(2))}`];
    cursor.setAttribute("x1", x(epoch[n]));
    cursor.setAttribute("x2", x(epoch[n]));
    for (const [name, dot] of Object.entries(dots)) {
      const v = facts.curves[name][n];
      dot.setAttribute("visibility", v === null ? "hidden" : "visible");
      if (v === null) continue;
      dot.setAttribute("cx", x(epoch[n]));
      dot.setAttribute("cy", y(v));
      parts.push(`${words[name]} ${v.toFixed(3)}`);
    }
    range.setAttribute("aria-valuetext", parts.join(", "));
    say(section, parts.join(" · "));
  };
  curves.show();
}

function startCurves() {
  const { section, svg, range } = curves;
  section.hidden = false;
  range.max = range.value = facts.curves.epoch.length - 1;
  range.addEventListener("input", () => curves.show());
  range.addEventListener("pointermove", ({ clientX }) => {
    const { left, width } = svg.getBoundingClientRect();
    range.value = curves.nearest((clientX - left) / width);
    curves.show();
  });
  let wide = 0;
  new ResizeObserver(() => {
    if (wide !== svg.clientWidth) drawCurves();
    wide = svg.clientWidth;
  }).observe(svg);
}

function start() {
  document.body.classList.add(facts.boundary ? "words" : "prose");
  document.body.classList.toggle("code", !facts.boundary && "{};".split("").every((c) => facts.characters.includes(c)));
  $("#lead").textContent = facts.boundary
    ? "A small neural network has learned to make up names, letter by letter. It lives in this file and needs no connection. Choose a name to see how it came about."
    : "A small neural network has learned to write, letter by letter. It lives in this file and needs no connection.";
  const sizes = `${L > 1 ? `${L} layers of ` : ""}${plural(H, "unit")}, ${number.format(facts.parameters)} weights`;
  const disclosed = facts.index ? ` This file contains the ${plural(facts.index.length, "name")} it was trained on, to tell which are new.` : "";
  $("#foot").textContent = `An LSTM of ${sizes}${facts.half ? " in half precision" : ""}. ` +
    `Everything is computed on this device; nothing is loaded and nothing is sent.${disclosed} Made with fastlstm.`;
  const loaded = ask("load", { facts, weights: $("#weights").textContent, kernel: $("#kernel").textContent });
  loaded.catch((error) => say(facts.boundary ? names.section : text.section, error.message, true));
  startLetters();
  startInside();
  if (facts.boundary) startNames();
  else startText();
  if (facts.curves) startCurves();
}

start();
