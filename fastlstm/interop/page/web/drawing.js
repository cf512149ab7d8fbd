// Names and text, as they are drawn.

const names = { section: $("#names"), form: $("#names form"), list: $("#names ol"), drawn: [], turn: 0 };

// What a model with an end mark makes up: names, or lines, which may be long and have line breaks.
function thing() {
  return facts.longest ? "line" : "name";
}

function nameButton(name) {
  return make("li", {}, make("button", { type: "button", dir: "auto", "aria-pressed": "false" }, name));
}

async function drawNames() {
  const { form, list, section } = names, { elements } = form, turn = ++names.turn;
  if (!form.checkValidity()) return;
  showSlides(form);
  const n = Number(elements.n.value);
  const request = {
    prefix: elements.prefix.value, n, longest: Number(elements.longest.value), novel: elements.novel.checked,
    seed: BigInt(elements.seed.value), given: given(), ...settings(elements),
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
    const speed = count < 2000 ? "" : `, ${about.format(count / seconds)} letters a second`; // few say nothing about it
    let text = plural(found, thing()) + speed;
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
  return [thing(), ...quoted, ""].join("\n");
}

function startNames() {
  const { section, form, list } = names;
  section.hidden = false;
  $(".fresh", form).hidden = !facts.index;
  if (facts.longest) form.elements.n.value = 8;
  else if (innerWidth < 480) form.elements.n.value = 20;
  prepareForm(form);
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
    make("a", { href: address, download: `${thing()}s.csv` }).click();
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
    const speed = textSettings().pace ? "" : `, ${about.format(answer.count / answer.seconds)} a second`;
    say(section, `${plural([...shown.textContent].length, "letter")}${speed}`);
    if (!letters.touched) readLetters(shown.textContent.trim().split("\n")[0].slice(0, 60));
    colourStates([[...shown.textContent].slice(0, 400).join("")]);
  } catch (error) {
    if (turn !== text.turn) return;
    say(section, error.message, true);
    text.running = false;
    showButtons(true);
  }
}

function writeText() {
  const { elements } = text.form;
  if (!text.form.checkValidity()) return;
  say(text.section, "");
  const seed = BigInt(elements.seed.value), length = Number(elements.size.value);
  follow("text", { prefix: elements.prefix.value, length, seed, given: given(), ...textSettings() });
}

function startText() {
  const { section, form } = text;
  section.hidden = false;
  if (calm) form.elements.pace.value = PACES.length;
  prepareForm(form);
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
