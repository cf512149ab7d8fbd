"use strict";
// The page: what it shows, and what it asks of the worker, which has the model.

const $ = (selector, inside = document) => inside.querySelector(selector);
const facts = JSON.parse($("#facts").textContent);
const { layers: L, hidden: H, vocabulary: V } = facts.architecture;
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const PACES = [15, 60, 300, 0]; // letters a second; 0: as fast as they come

// Everything that comes from the model or from the reader goes into the page as text.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("--")) element.style.setProperty(name, value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// The worker. An answer may come in parts; errors are sentences for the reader.
const worker = new Worker(URL.createObjectURL(new Blob([$("#worker").textContent], { type: "text/javascript" })));
const asked = new Map();
let questions = 0;

function ask(task, request, tell) {
  return new Promise((resolve, reject) => {
    asked.set(++questions, { resolve, reject, tell });
    worker.postMessage({ id: questions, task, request });
  });
}

worker.onmessage = ({ data: { id, part, answer, error } }) => {
  const { resolve, reject, tell } = asked.get(id);
  if (part !== undefined) {
    tell(part);
    return;
  }
  asked.delete(id);
  if (error === undefined) resolve(answer);
  else reject(new Error(error));
};

function say(section, text, wrong = false) {
  const status = $(".status", section);
  status.textContent = text;
  status.classList.toggle("wrong", wrong);
}

// Words and figures
const number = new Intl.NumberFormat("en");
const about = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
const large = new Intl.NumberFormat("en", { notation: "compact", compactDisplay: "long", maximumSignificantDigits: 3 });
const plural = (count, word) => `${number.format(count)} ${word}${count === 1 ? "" : "s"}`;
const percent = (p) => (p < 0.001 ? "< 0.1 %" : `${(100 * p).toFixed(p < 0.1 ? 1 : 0)} %`);

function oneIn(logarithm) {
  return logarithm > -34 ? large.format(Math.exp(-logarithm)) : `10 to the power of ${Math.round(-logarithm / Math.LN10)}`;
}

// How a single letter is shown: what cannot be seen gets a sign or its number. null is the end.
function glyph(letter) {
  if (letter === null) return "end";
  const signs = { " ": "␣", "\n": "↵", "\t": "⇥", "\u00a0": "⍽" };
  if (letter in signs) return signs[letter];
  if (/^\p{M}$/u.test(letter)) return `◌${letter}`;
  return /^[\p{C}\p{Z}]$/u.test(letter) ? `U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}` : letter;
}

// Controls
function showSlides(form) {
  const spelled = {
    topK: (value) => (value === 0 ? "all" : `${value}`),
    topP: (value) => `${Math.round(100 * value)} %`,
    longest: (value) => (value === 0 ? "free" : `${value}`),
    pace: (value) => (PACES[value - 1] ? `${PACES[value - 1]}` : "at once"),
    temperature: (value) => value.toFixed(2),
  };
  for (const slide of form.querySelectorAll("input[type=range]")) {
    const text = spelled[slide.name](Number(slide.value));
    $("output", slide.parentElement).textContent = text;
    slide.setAttribute("aria-valuetext", text);
  }
}

function settings({ temperature, topK, topP }) {
  return { temperature: Number(temperature.value), topK: Number(topK.value) || V, topP: Number(topP.value) };
}

// Conditions: each is a choice among values, the first of which leaves it open. A value's states are a row among all values'.
function given(form) {
  let first = 0;
  return [...form.querySelectorAll(".given select")].map(({ selectedIndex, length }) => (first += length) - length + selectedIndex);
}

function offerGiven(form) {
  $(".given", form).append(...facts.given.map(({ name, values }) =>
    make("label", { className: "line" }, name, make("select", {}, ...values.map((value) => make("option", {}, value))))));
}

function reseed(form) {
  form.elements.seed.value = crypto.getRandomValues(new Uint32Array(1))[0] % 1000000;
}

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1200);
}

// Names
const names = { section: $("#names"), form: $("#names form"), list: $("#names ol"), drawn: [], turn: 0 };

function nameButton(name) {
  return make("li", {}, make("button", { type: "button", dir: "auto", "aria-pressed": "false" }, name));
}

async function drawNames() {
  const { form, list, section } = names, { elements } = form, turn = ++names.turn;
  if (!form.reportValidity()) return;
  showSlides(form);
  const n = Number(elements.n.value);
  const request = {
    prefix: elements.prefix.value, n, longest: Number(elements.longest.value), novel: elements.novel.checked,
    seed: BigInt(elements.seed.value), given: given(form), ...settings(elements),
  };
  const drawn = [];
  const tell = (batch) => {
    if (turn !== names.turn) return;
    if (!drawn.length) list.replaceChildren();
    drawn.push(...batch);
    list.append(...batch.map(nameButton));
  };
  try {
    const answer = await ask("names", request, tell);
    if (!answer || turn !== names.turn) return;
    const { found, tried, count, seconds } = answer;
    names.drawn = drawn;
    if (!found) list.replaceChildren();
    let text = `${plural(found, "name")}, ${about.format(count / seconds)} letters a second`;
    if (found < n) text = `${found} of ${n}: there are no more new ones among ${plural(tried, "draw")}`;
    say(section, text);
    if (drawn.length) {
      if (!letters.touched) readLetters(drawn[0]);
      colourStates(drawn.slice(0, 24));
    }
  } catch (error) {
    if (turn === names.turn) say(section, error.message, true);
  }
}

function asCsv(values) {
  const quoted = values.map((value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value));
  return ["name", ...quoted, ""].join("\n");
}

function startNames() {
  const { section, form, list } = names;
  section.hidden = false;
  $(".fresh", form).hidden = !facts.index;
  if (innerWidth < 480) form.elements.n.value = 20;
  offerGiven(form);
  form.addEventListener("input", drawNames);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    reseed(form);
    drawNames();
  });
  list.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    letters.touched = true;
    readLetters(button.textContent);
  });
  $(".copy", form).addEventListener("click", ({ target }) => copy(target, names.drawn.join("\n")));
  $(".csv", form).addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([asCsv(names.drawn)], { type: "text/csv" }));
    make("a", { href: address, download: "names.csv" }).click();
    URL.revokeObjectURL(address);
  });
  drawNames();
}

// Text
const text = { section: $("#text"), form: $("#text form"), shown: $(".written"), turn: 0, running: false };

function textSettings() {
  return { ...settings(text.form.elements), pace: PACES[text.form.elements.pace.value - 1] };
}

function showButtons(stopped = false) {
  const pause = $(".pause", text.form);
  pause.textContent = text.running || stopped ? "Pause" : "Go on";
  pause.disabled = stopped;
  $(".stop", text.form).disabled = stopped;
}

async function follow(task, request) {
  const { section, shown } = text, turn = ++text.turn;
  if (task === "text") shown.replaceChildren("");
  text.running = true;
  showButtons();
  const tell = (piece) => {
    if (turn !== text.turn) return;
    const low = shown.scrollTop + shown.clientHeight >= shown.scrollHeight - 40;
    shown.firstChild.appendData(piece);
    if (low) shown.scrollTop = shown.scrollHeight;
  };
  try {
    const answer = await ask(task, request, tell);
    if (!answer || turn !== text.turn) return;
    text.running = false;
    showButtons();
    const speed = request.pace || text.paced ? "" : `, ${about.format(answer.count / answer.seconds)} a second`;
    say(section, `${plural([...shown.textContent].length, "letter")}${speed}`);
    if (!letters.touched) readLetters(shown.textContent.trimStart().slice(0, 60));
    colourStates([[...shown.textContent].slice(0, 600).join("")]);
  } catch (error) {
    if (turn !== text.turn) return;
    say(section, error.message, true);
    text.running = false;
    showButtons(true);
  }
}

function writeText() {
  const { elements } = text.form;
  if (!text.form.reportValidity()) return;
  say(text.section, "");
  const seed = BigInt(elements.seed.value), length = Number(elements.size.value);
  follow("text", { prefix: elements.prefix.value, length, seed, given: given(text.form), ...textSettings() });
}

function startText() {
  const { section, form } = text;
  section.hidden = false;
  if (calm) form.elements.pace.value = PACES.length;
  offerGiven(form);
  showSlides(form);
  form.addEventListener("input", ({ target }) => {
    showSlides(form);
    if (target.type === "range") ask("tune", { ...textSettings(), running: text.running });
    else if (target.name !== "size") writeText();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    reseed(form);
    writeText();
  });
  $(".pause", form).addEventListener("click", () => {
    if (text.running) ask("tune", { ...textSettings(), running: false });
    else follow("goOn", { length: Number(form.elements.size.value) });
  });
  $(".stop", form).addEventListener("click", async () => {
    await ask("tune", { ...textSettings(), running: false });
    text.turn++;
    text.running = false;
    showButtons(true);
  });
  $(".copy", form).addEventListener("click", ({ target }) => copy(target, text.shown.textContent));
  writeText();
}

// Letter by letter
const letters = { section: $("#letters"), input: $("#letters textarea"), touched: false, turn: 0, at: null, read: null };

async function readLetters(value = letters.input.value) {
  const turn = ++letters.turn;
  if (letters.input.value !== value) letters.input.value = value;
  for (const button of names.list.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.textContent === value));
  try {
    const form = facts.boundary ? names.form : text.form;
    const answer = await ask("read", { text: value, given: given(form) });
    if (turn !== letters.turn) return;
    letters.read = answer;
    letters.at = answer.letters.length;
    showLetters();
    showHeat(value);
  } catch (error) {
    if (turn === letters.turn) say(letters.section, error.message, true);
  }
}

function showLetters() {
  const { letters: written, places, whole, written: sum } = letters.read;
  const columns = places.map(({ p, likely }, at) => {
    const end = at === written.length;
    const rather = end ? [] : likely.filter((other) => other[1] > p && other[0] !== written[at]).slice(0, 2);
    const bits = end ? 0 : Math.min(-Math.log2(p) / 9, 1);
    const shown = end ? (facts.boundary ? "end" : "…") : glyph(written[at]);
    const line = !facts.boundary && written[at] === "\n" ? "\n" : "";
    const prose = facts.boundary || written[at] !== " " ? shown : " ";
    const [probability] = end ? likely.filter(([letter]) => letter === null).map((other) => other[1]) : [p];
    const properties = { role: "option", id: `letter-${at}`, "aria-selected": "false", "data-at": at };
    return make("span", properties,
      make("b", { "--heat": (0.5 * bits).toFixed(3), className: end ? "end" : "" }, prose + line),
      make("small", {}, probability === undefined ? "" : percent(probability)),
      make("i", {}, rather.map(([letter]) => glyph(letter)).join(" ")));
  });
  $(".word", letters.section).replaceChildren(...columns);
  const bits = -sum / Math.LN2 / Math.max(written.length, 1);
  const surprise = written.length ? `${bits.toFixed(2)} bits of surprise a letter.` : "";
  const rare = facts.boundary && written.length ? ` As a whole name, 1 in ${oneIn(whole)}.` : "";
  say(letters.section, surprise + rare);
  chooseLetter(letters.at);
}

function chooseLetter(at) {
  const word = $(".word", letters.section);
  letters.at = Math.min(Math.max(at, 0), letters.read.letters.length);
  for (const option of word.children) option.setAttribute("aria-selected", String(Number(option.dataset.at) === letters.at));
  word.setAttribute("aria-activedescendant", `letter-${letters.at}`);
  showBars();
}

function showBars() {
  const { letters: written, places } = letters.read, { at } = letters, { likely } = places[at];
  const before = written.slice(Math.max(at - 24, 0), at).join("");
  const actual = written[at];
  $("#bars-title").replaceChildren(at === 0 ? "At the beginning it expects" : "After ",
    ...(at === 0 ? [] : [make("bdi", {}, `“${before}”`), at === written.length ? " it expects" : " it expected"]));
  const entries = likely.filter((entry, n) => n < 4 || entry[1] > 0.002);
  if (at < written.length && !entries.some(([letter]) => letter === actual)) entries.push([actual, places[at].p]);
  $(".bars").replaceChildren(...entries.map(([letter, p]) => make("li", { className: letter === actual ? "actual" : "" },
    make("span", { className: letter === null ? "letter named" : "letter" }, glyph(letter)),
    make("span", { className: "bar", "--share": (p / entries[0][1]).toFixed(4) }),
    make("span", { className: "figure" }, percent(p)))));
}

function startLetters() {
  const { section, input } = letters;
  $("#letters-note").textContent = facts.boundary
    ? "Choose a name above, or write one. Under each letter stands how probable it was, and what the model would rather have said; the more it was surprised, the stronger the colour."
    : "Write something. The more a letter surprised the model, the stronger its colour; choose one to see what it expected there.";
  $("#letters-label").textContent = facts.boundary ? "A name" : "Some text";
  input.addEventListener("input", () => {
    letters.touched = true;
    if (facts.boundary && input.value.includes("\n")) input.value = input.value.replaceAll("\n", "");
    readLetters();
  });
  $(".word", section).addEventListener("click", ({ target }) => {
    const option = target.closest("[role=option]");
    if (option) chooseLetter(Number(option.dataset.at));
  });
  $(".word", section).addEventListener("keydown", (event) => {
    const to = { ArrowLeft: letters.at - 1, ArrowRight: letters.at + 1, Home: 0, End: Infinity }[event.key];
    if (to === undefined || !letters.read) return;
    event.preventDefault();
    chooseLetter(to);
  });
}
