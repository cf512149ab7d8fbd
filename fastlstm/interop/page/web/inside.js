// Look inside: the cell states of the network's units, over what was drawn and over the last letters that were read.

const inside = { section: $("#inside"), unit: 0, states: [], heat: null };
const LINES = 16, ROW = 22; // letters in the heat map, and pixels of each one's line
const EXCITED = 0.6, SUBDUED = 0.32; // the strongest colours: dark text stays legible on them

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).split(" ").map(Number);
const unitName = (unit) => (L > 1 ? `layer ${Math.floor(unit / H) + 1}, unit ${(unit % H) + 1}` : `unit ${unit + 1}`);

// Some names or a text, letter by letter in the colours of a unit.
async function colourStates(texts) {
  inside.states = await ask("cells", { texts, given: given() });
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
  for (const button of inside.section.querySelectorAll(".found button")) press(button, Number(button.dataset.unit) === unit);
  $(".heat").style.setProperty("--at", (unit + 0.5) / (L * H));
}

function chooseUnit(unit) {
  inside.unit = Math.min(Math.max(unit, 0), L * H - 1);
  inside.section.querySelector("input[name=unit]").value = inside.unit + 1;
  showUnit();
}

// All units over the last letters of a name or text: a line for each letter, a column for each unit.
async function showHeat(written) {
  const [{ letters, states }] = await ask("cells", { texts: [written.join("")], given: given() });
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
  $(".found ul", section).append(...facts.units.map(({ what, unit, r }) => {
    const title = `${unitName(unit)}, correlation ${r.toFixed(2)}`, figure = `${r < 0 ? "−" : "+"}${Math.abs(r).toFixed(2)}`;
    const properties = { type: "button", "data-unit": unit, "aria-pressed": "false", title };
    return make("li", {}, make("button", properties, what, make("small", {}, `${unit + 1} · ${figure}`)));
  }));
  $(".found ul", section).addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button) chooseUnit(Number(button.dataset.unit));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paintHeat);
  chooseUnit(facts.units.length ? facts.units[0].unit : 0);
}
