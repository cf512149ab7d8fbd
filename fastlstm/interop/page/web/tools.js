"use strict";
// What all of the page uses: elements, the worker with the model, words and figures, controls.

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

function press(button, pressed) {
  button.setAttribute("aria-pressed", String(pressed));
}

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
  const code = () => letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  return /^[\p{C}\p{Z}]$/u.test(letter) ? `U+${code()}` : letter;
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
function given() {
  let first = 0;
  const selects = document.querySelectorAll("section:not([hidden]) .given select");
  return [...selects].map(({ selectedIndex, length }) => (first += length) - length + selectedIndex);
}

function prepareForm(form) {
  const conditions = facts.given.map(({ name, values }) => {
    const options = values.map((value) => make("option", {}, value));
    return make("label", { className: "line" }, name, make("select", {}, ...options));
  });
  $(".given", form).append(...conditions);
  // What is wrong can only be pointed out where it can be seen.
  form.addEventListener("invalid", () => ($("details", form).open = true), true);
  showSlides(form);
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
