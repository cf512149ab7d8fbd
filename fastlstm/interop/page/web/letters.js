// Letter by letter
const letters = { section: $("#letters"), input: $("#letters textarea"), touched: false, turn: 0, at: null, read: null };

async function readLetters(value = letters.input.value) {
  const turn = ++letters.turn;
  if (letters.input.value !== value) letters.input.value = value;
  for (const button of names.list.querySelectorAll("button")) press(button, button.textContent === value);
  try {
    const answer = await ask("read", { text: value, given: given() });
    if (turn !== letters.turn) return;
    letters.read = answer;
    letters.at = answer.letters.length;
    showLetters();
    showHeat(answer.letters);
  } catch (error) {
    if (turn === letters.turn) say(letters.section, error.message, true);
  }
}

function showLetters() {
  const { letters: written, places, whole, written: sum } = letters.read;
  const columns = places.map(({ p, likely }, at) => {
    const letter = written[at], end = at === written.length;
    const probability = end ? likely.find(([other]) => other === null)?.[1] : p; // of the end, where it is likely at all
    const figure = probability === undefined ? "" : percent(probability);
    const shown = end ? (facts.boundary ? "end" : "…") : glyph(letter);
    const rather = end ? [] : likely.filter((other) => other[1] > p).slice(0, 2).map(([other]) => glyph(other));
    const properties = { role: "option", id: `letter-${at}`, "data-at": at };
    if (!facts.boundary) properties["aria-label"] = `${shown} ${figure}`;
    const heat = end ? 0 : 0.5 * Math.min(-Math.log2(p) / 9, 1);
    const prose = { " ": " ", "\n": "↵\n" };
    return make("span", properties,
      make("b", { "--heat": heat.toFixed(3), className: end ? "end" : "" }, (!facts.boundary && prose[letter]) || shown),
      make("small", {}, figure), make("i", {}, rather.join(" ")));
  });
  $(".word", letters.section).replaceChildren(...columns);
  const bits = -sum / Math.LN2 / Math.max(written.length, 1);
  const surprise = written.length ? `${bits.toFixed(2)} bits of surprise a letter.` : "";
  const rare = facts.boundary && written.length ? ` As a whole ${thing()}, 1\u00a0in\u00a0${oneIn(whole)}.` : "";
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
    ? `Choose a ${thing()} above, or write one. Under each letter stands how probable it was, and what the model would ` +
      "rather have said; the more it was surprised, the stronger the colour."
    : "Write something. The more a letter surprised the model, the stronger its colour; choose one to see what it " +
      "expected there.";
  $("#letters-label").textContent = facts.boundary ? `A ${thing()}` : "Some text";
  input.addEventListener("input", () => {
    letters.touched = true;
    if (facts.boundary && !facts.longest && input.value.includes("\n")) input.value = input.value.replaceAll("\n", "");
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
